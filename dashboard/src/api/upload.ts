/** Files sent with their progress, which `fetch` does not tell. */

import { OURS } from "./client";
import { Refused, Unreachable } from "./failures";
import type { FileObject } from "./types";

/**
 * Sends a dataset. `onProgress` gets the share that has been sent, 0 to 1; at 1 the rows are still being checked.
 * Raises Refused, with what is wrong in the rows, and Unreachable.
 */
export function uploadDataset(file: File, onProgress: (share: number) => void, signal: AbortSignal): Promise<FileObject> {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    for (const [name, value] of Object.entries(OURS)) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onerror = () => reject(new Unreachable());
    request.onabort = () => reject(new DOMException("The upload was ended.", "AbortError"));
    request.onload = () => {
      if (request.status < 400) resolve(request.response as FileObject);
      else reject(Refused.from(request.status, request.response));
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
