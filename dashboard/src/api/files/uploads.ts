/** The uploads of this tab. They run one after another, also while another page is open, and end with the session. */

import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";

import { FILES_KEY } from "@/api/keys";
import { readAgain } from "@/api/readAgain";
import { Listeners } from "@/lib/browser/changing";

import { type Purpose, uploadFile } from "./files";

export interface Upload {
  readonly key: number;
  readonly name: string;
  readonly bytes: number;
  readonly sent: number;
  readonly state: "waiting" | "sending" | "done" | "failed";
  /** The id of the file that the upload has made. */
  readonly fileId?: string;
  /** Why the file was not uploaded. */
  readonly error?: unknown;
}

let uploads: readonly Upload[] = [];
let last: Promise<void> = Promise.resolve();
let keys = 0;
const aborts = new Map<number, AbortController>();
const listeners = new Listeners();

export const useUploads = () => useSyncExternalStore(listeners.add, () => uploads);

function replaceUploads(next: readonly Upload[]): void {
  uploads = next;
  listeners.call();
}

const change = (key: number, changed: Partial<Upload>) =>
  replaceUploads(uploads.map((upload) => (upload.key === key ? { ...upload, ...changed } : upload)));

/** Starts an upload and returns its key among the uploads. `onDone` is called with the id of the new file. */
export function startUpload(client: QueryClient, file: File, purpose: Purpose, onDone?: (id: string) => void): number {
  const key = (keys += 1);
  const abort = new AbortController();
  aborts.set(key, abort);
  replaceUploads([...uploads, { key, name: file.name, bytes: file.size, sent: 0, state: "waiting" }]);
  last = last.then(() => run(client, key, file, purpose, abort.signal, onDone));
  addEventListener("beforeunload", warn);
  return key;
}

async function run(
  client: QueryClient,
  key: number,
  file: File,
  purpose: Purpose,
  signal: AbortSignal,
  onDone?: (id: string) => void,
) {
  if (signal.aborted) return;
  change(key, { state: "sending" });
  try {
    const made = await uploadFile(file, purpose, (sent) => change(key, { sent: Math.min(sent, file.size) }), signal);
    if (signal.aborted) return;
    client.setQueryData(["file", made.id], made);
    change(key, { state: "done", fileId: made.id });
    onDone?.(made.id);
    await readAgain(client, FILES_KEY);
  } catch (error) {
    if (!signal.aborted) change(key, { state: "failed", error });
  } finally {
    forget(key);
  }
}

/** Removes an upload from the list. An upload that is under way is stopped. */
export function dismissUpload(key: number): void {
  aborts.get(key)?.abort();
  forget(key);
  replaceUploads(uploads.filter((upload) => upload.key !== key));
}

/** Stops and removes all uploads, including those that wait. */
export function endUploads(): void {
  for (const { key } of uploads) dismissUpload(key);
}

function forget(key: number): void {
  aborts.delete(key);
  if (!aborts.size) removeEventListener("beforeunload", warn);
}

/** Makes the browser ask before it closes the tab, because bytes are still to be sent. */
function warn(event: BeforeUnloadEvent): void {
  event.preventDefault();
}
