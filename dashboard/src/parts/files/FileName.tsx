import { useQuery } from "@tanstack/react-query";

import { isNotFound } from "@/api/failures";
import { fileQuery } from "@/api/files/files";

/** The name of a file. It shows the id while the name is not known, and if the file was deleted. */
export function FileName({ id }: { id: string }) {
  const { data, error } = useQuery(fileQuery(id));
  if (data) return <span title={id}>{data.filename}</span>;
  return <span className="text-muted">{isNotFound(error) ? `${id} (deleted)` : id}</span>;
}
