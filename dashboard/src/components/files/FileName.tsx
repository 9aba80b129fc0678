import { useQuery } from "@tanstack/react-query";

import { isNotFound } from "@/api/failures";
import { fileQuery } from "@/api/files/files";
import { idTail } from "@/lib/facts/fileFacts";

interface FileNameProps {
  id: string;
  /** Whether the end of the id stands beside the name: several files may have one name. */
  withId?: boolean;
}

/** The name of a file. It shows the id while the name is not known, and if the file was deleted. */
export function FileName({ id, withId = false }: FileNameProps) {
  const { data, error } = useQuery(fileQuery(id));
  if (data) {
    return (
      <span title={id}>
        {data.filename}
        {withId && <span className="text-muted"> {idTail(id)}</span>}
      </span>
    );
  }
  return <span className="text-muted">{isNotFound(error) ? `${id} (deleted)` : id}</span>;
}
