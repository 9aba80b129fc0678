import { OURS } from "@/api/client";
import { Refused, Unreachable } from "@/api/failures";

/**
 * Posts a form and returns the answer. It uses XMLHttpRequest, because `fetch` does not report the progress of sending.
 * Raises Refused, Unreachable, or the reason with which `signal` was aborted.
 */
export function sendForm(path: string, form: FormData, onSent: (bytes: number) => void, signal: AbortSignal) {
  return new Promise<unknown>((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "json";
    for (const [name, value] of Object.entries(OURS)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onSent(event.loaded));
    request.addEventListener("error", () => reject(new Unreachable()));
    request.addEventListener("abort", () => reject(signal.reason));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(Refused.from(request.status, request.response));
    });
    signal.throwIfAborted();
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
