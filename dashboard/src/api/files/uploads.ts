/** Uploads under way. They go on while another page is read, one after another, and end with the session. */

import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";

import { filesChanged, type Purpose, uploadFile } from "./files";

export interface Upload {
  readonly key: number;
  readonly name: string;
  readonly bytes: number;
  readonly sent: number;
  readonly state: "waiting" | "sending" | "done" | "failed";
  /** Of the file that it became. */
  readonly fileId?: string;
  /** Why it was not taken. */
  readonly error?: unknown;
}

let uploads: readonly Upload[] = [];
let last: Promise<void> = Promise.resolve();
let keys = 0;
const aborts = new Map<number, AbortController>();
const listeners = new Set<() => void>();

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useUploads = () => useSyncExternalStore(subscribe, () => uploads);

function tell(next: readonly Upload[]): void {
  uploads = next;
  for (const listener of listeners) listener();
}

const change = (key: number, changed: Partial<Upload>) =>
  tell(uploads.map((upload) => (upload.key === key ? { ...upload, ...changed } : upload)));

/** Its key among the uploads. `onDone` gets the id of the file that it became. */
export function startUpload(client: QueryClient, file: File, purpose: Purpose, onDone?: (id: string) => void): number {
  const key = (keys += 1);
  const abort = new AbortController();
  aborts.set(key, abort);
  tell([...uploads, { key, name: file.name, bytes: file.size, sent: 0, state: "waiting" }]);
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
    await client.invalidateQueries(filesChanged);
  } catch (error) {
    if (!signal.aborted) change(key, { state: "failed", error });
  } finally {
    forget(key);
  }
}

/** Ends it where it is under way, and takes it off the list. */
export function dismissUpload(key: number): void {
  aborts.get(key)?.abort();
  forget(key);
  tell(uploads.filter((upload) => upload.key !== key));
}

/** Of all that is under way, and of all that waits. */
export function endUploads(): void {
  for (const { key } of uploads) dismissUpload(key);
}

function forget(key: number): void {
  aborts.delete(key);
  if (!aborts.size) removeEventListener("beforeunload", warn);
}

/** The tab is being closed, and bytes are still to be sent. */
function warn(event: BeforeUnloadEvent): void {
  event.preventDefault();
}
