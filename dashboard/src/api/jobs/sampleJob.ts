/** A job on our own sample, the same that `tunery demo` runs. The build contains the same two files. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import { ask } from "@/api/client";
import { uploadFile } from "@/api/files/files";
import { newIdempotencyKey } from "@/lib/browser/idempotencyKey";
import heldOut from "@/sample/held-out.jsonl?url";
import train from "@/sample/train.jsonl?url";
import type { CreateJob } from "@/types/api";

import { createJob } from "./createJob";
import { baseModelsQuery } from "./offers";

const USUAL_MODEL = "smollm2-135m-instruct";
const OPTIONS = {
  suffix: "sample",
  seed: 1,
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 8 } } },
  training: { learning_rate: 1e-3 },
} satisfies Partial<CreateJob>;

/** Uploads the sample and creates the job. Another attempt sends no file twice and makes no second job. */
export function useSampleJob(onCreated: (jobId: string) => void) {
  const client = useQueryClient();
  const [key] = useState(newIdempotencyKey);
  const files = useRef(new Map<string, string>());
  const page = useRef(new AbortController());
  useEffect(() => {
    const shown = new AbortController();
    page.current = shown;
    return () => shown.abort(); // after a sign-out, nothing may go on in the next project
  }, []);
  const upload = async (name: string, url: string, signal: AbortSignal) => {
    const known = files.current.get(name);
    if (known !== undefined) return known;
    const content = await (await ask(url, { signal })).blob();
    const { id } = await uploadFile(new File([content], name), "fine-tune", () => undefined, signal);
    files.current.set(name, id);
    return id;
  };
  return useMutation({
    mutationFn: async () => {
      const { signal } = page.current;
      const models = await client.fetchQuery({ ...baseModelsQuery, retry: false });
      const model = models.includes(USUAL_MODEL) ? USUAL_MODEL : models[0];
      if (model === undefined) throw new Error("The service has no base model. Its operator must add one to the catalog.");
      const training_file = await upload("sample-train.jsonl", train, signal);
      const validation_file = await upload("sample-held-out.jsonl", heldOut, signal);
      signal.throwIfAborted();
      return createJob(client, { model, training_file, validation_file, ...OPTIONS }, key);
    },
    onSuccess: onCreated,
    scope: { id: `sample job ${key}` }, // two clicks are two attempts, one after the other
  });
}
