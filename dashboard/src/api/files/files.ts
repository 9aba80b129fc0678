/** Files: the list, one of them, its beginning, what reads it, and uploads. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { MAX_PART_BYTES, partsOf } from "./uploadParts";

import { api, ask, body } from "@/api/client";
import { fileContentPath } from "@/api/details";
import { pageQuery, usePaged } from "@/api/paged";
import { send } from "./sendForm";
import type { FileObject } from "@/api/types";

const PAGE = 50;
const JOBS_SHOWN = 20;
const PREVIEW_BYTES = 256 * 1024;

export const PURPOSES = ["fine-tune", "batch", "assistants", "vision", "user_data", "evals"] as const;
export type Purpose = (typeof PURPOSES)[number];

const LIST_KEY = ["files"] as const;

export function useFiles() {
  return usePaged(LIST_KEY, (after, signal) =>
    body(api.GET("/v1/files", { params: { query: pageQuery(PAGE, after) }, signal })),
  );
}

/** The jobs that read the file, the newest first, as far as they are shown. */
export function jobsOfFileQuery(id: string) {
  return queryOptions({
    queryKey: ["file", id, "jobs"],
    queryFn: ({ signal }) =>
      body(api.GET("/v1/fine_tuning/jobs", { params: { query: { file: id, limit: JOBS_SHOWN } }, signal })),
  });
}

export interface Beginning {
  text: string;
  /** Whether it is all of the file. */
  whole: boolean;
}

/** The first bytes as text: of a large file no more is read. */
export function beginningQuery(file: FileObject) {
  return queryOptions({
    queryKey: ["file", file.id, "beginning"],
    queryFn: async ({ signal }): Promise<Beginning> => {
      const headers = { range: `bytes=0-${PREVIEW_BYTES - 1}` };
      const answer = await ask(fileContentPath(file.id), { headers, signal });
      return { text: await answer.text(), whole: file.bytes <= PREVIEW_BYTES };
    },
    staleTime: Infinity,
  });
}

export function useDeleteFile() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => body(api.DELETE("/v1/files/{file_id}", { params: { path: { file_id: id } } })),
    onSuccess: async (_, id) => {
      client.removeQueries({ queryKey: ["file", id] });
      await client.invalidateQueries({ queryKey: LIST_KEY });
    },
  });
}

export const filesChanged = { queryKey: LIST_KEY };

/** Sends a file, a large one in parts. `onSent` is told the bytes so far. */
export async function uploadFile(
  file: File,
  purpose: Purpose,
  onSent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<FileObject> {
  if (file.size > MAX_PART_BYTES) return uploadInParts(file, purpose, onSent, signal);
  const form = new FormData();
  form.append("purpose", purpose); // first: the rows are checked while they arrive
  form.append("file", file);
  return (await send("/v1/files", form, onSent, signal)) as FileObject;
}

async function uploadInParts(file: File, purpose: Purpose, onSent: (bytes: number) => void, signal: AbortSignal) {
  const announced = { bytes: file.size, filename: file.name, mime_type: file.type || "application/jsonl", purpose };
  const { id } = await body(api.POST("/v1/uploads", { body: announced, signal }));
  const params = { path: { upload_id: id } };
  try {
    const part_ids: string[] = [];
    for (const [from, to] of partsOf(file.size)) {
      const form = new FormData();
      form.append("data", file.slice(from, to));
      const part = await send(`/v1/uploads/${id}/parts`, form, (sent) => onSent(from + sent), signal);
      part_ids.push((part as { id: string }).id);
    }
    const done = await body(api.POST("/v1/uploads/{upload_id}/complete", { params, body: { part_ids }, signal }));
    return done.file as FileObject;
  } catch (error) {
    await api.POST("/v1/uploads/{upload_id}/cancel", { params }).catch(() => undefined); // else it expires in an hour
    throw error;
  }
}
