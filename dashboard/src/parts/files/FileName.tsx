import { useQuery } from "@tanstack/react-query";

import { fileQuery } from "@/api/details";
import { isNotFound } from "@/api/failures";

/** A file's name; its id while that is not known, and where the file was deleted. */
export function FileName({ id }: { id: string }) {
  const { data, error } = useQuery(fileQuery(id));
  if (data) return <span title={id}>{data.filename}</span>;
  return <span className="text-muted">{isNotFound(error) ? `${id} (deleted)` : id}</span>;
}
