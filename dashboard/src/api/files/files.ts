/** Requests about files: the list, one file, its first bytes, the jobs that read it, its deletion and its upload. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { ask } from "@/api/client";
import { FILES_KEY } from "@/api/keys";
import { usePages } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import { get, post, remove, routeOf } from "@/api/routes";
import type { FileObject } from "@/types/api";

import { sendForm } from "./sendForm";
import { MAX_PART_BYTES, partsOf } from "./uploadParts";

const FILE = "/v1/files/{file_id}";
const JOBS_SHOWN = 20;
const PREVIEW_BYTES = 256 * 1024;

export const PURPOSES = ["fine-tune", "batch", "assistants", "vision", "user_data", "evals"] as const;
export type Purpose = (typeof PURPOSES)[number];

export const useFiles = () => usePages(FILES_KEY, "/v1/files");

/** A file never changes. The answer for a deleted file has status 404. */
export function fileQuery(id: string) {
  return queryOptions({
    queryKey: ["file", id],
    queryFn: ({ signal }) => get(FILE, [id], { signal }),
    staleTime: Infinity,
  });
}

export const fileContentPath = (id: string) => routeOf(`${FILE}/content`, [id]);

/** The newest jobs that read the file. */
export function jobsOfFileQuery(id: string) {
  return queryOptions({
    queryKey: ["file", id, "jobs"],
    queryFn: ({ signal }) => get("/v1/fine_tuning/jobs", [], { query: { file: id, limit: JOBS_SHOWN }, signal }),
  });
}

export interface FilePreview {
  text: string;
  /** Whether the text is the whole file. */
  isWhole: boolean;
}

/** The first bytes of a file as text. A large file is not read further. */
export function previewQuery(file: Pick<FileObject, "id" | "bytes">) {
  return queryOptions({
    queryKey: ["file", file.id, "preview"],
    queryFn: async ({ signal }): Promise<FilePreview> => {
      const headers = { range: `bytes=0-${PREVIEW_BYTES - 1}` };
      const answer = await ask(fileContentPath(file.id), { headers, signal });
      return { text: await answer.text(), isWhole: file.bytes <= PREVIEW_BYTES };
    },
    staleTime: Infinity,
  });
}

export function useDeleteFile() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => remove(FILE, [id]),
    onSuccess: async (_, id) => {
      client.removeQueries({ queryKey: ["file", id] });
      await readAgain(client, FILES_KEY);
    },
  });
}

export interface PreviewAsked {
  model: string;
  lines: number[];
}

/** Shows rows as training sees them. Nothing changes, but a server has to render them. */
export function usePreviewRows(fileId: string) {
  return useMutation({ mutationFn: (asked: PreviewAsked) => post(`${FILE}/preview`, [fileId], asked) });
}

/** Uploads a file; a large file goes in parts. `onSent` is called with the number of bytes sent so far. */
export async function uploadFile(
  file: File,
  purpose: Purpose,
  onSent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<FileObject> {
  if (file.size > MAX_PART_BYTES) return uploadInParts(file, purpose, onSent, signal);
  const form = new FormData();
  form.append("purpose", purpose); // before the file, because the service checks the rows while they arrive
  form.append("file", file);
  return (await sendForm("/v1/files", form, onSent, signal)) as FileObject;
}

async function uploadInParts(file: File, purpose: Purpose, onSent: (bytes: number) => void, signal: AbortSignal) {
  const announced = { bytes: file.size, filename: file.name, mime_type: file.type || "application/jsonl", purpose };
  const { id } = await post("/v1/uploads", [], announced, { signal });
  try {
    const part_ids: string[] = [];
    for (const [from, to] of partsOf(file.size)) {
      const form = new FormData();
      form.append("data", file.slice(from, to));
      const part = await sendForm(`/v1/uploads/${id}/parts`, form, (sent) => onSent(from + sent), signal);
      part_ids.push((part as { id: string }).id);
    }
    const done = await post("/v1/uploads/{upload_id}/complete", [id], { part_ids }, { signal });
    return done.file as FileObject;
  } catch (error) {
    await post("/v1/uploads/{upload_id}/cancel", [id], undefined).catch(() => undefined); // if this fails, the upload expires in an hour
    throw error;
  }
}
