/** The first row of a dataset as a prompt for a model. */

import { type Message, rowsOf } from "@/lib/datasets/datasetRows";

export interface FirstPrompt {
  system: string;
  prompt: string;
  /** The answer in the file; null if the file has none, or marks its answer as one to avoid. */
  expected: string | null;
}

/** Returns the last prompt of the first row and the answer to it; null if the row has no prompt of a user. */
export function firstPrompt(text: string, isWhole: boolean): FirstPrompt | null {
  const [row] = rowsOf(text, isWhole, 1);
  if (!row || row.kind === "text") return null;
  if (row.kind === "chat") return fromMessages(row.messages, answerIn(row.messages));
  if (row.kind === "prompt") return fromMessages(row.prompt, null);
  if (row.kind === "preference") return fromMessages(row.prompt, row.preferred.at(-1)?.text ?? null);
  return fromMessages(row.prompt, row.label ? (row.answer.at(-1)?.text ?? null) : null);
}

function answerIn(messages: readonly Message[]): string | null {
  return messages.findLast(({ role }) => role === "assistant")?.text ?? null;
}

function fromMessages(messages: readonly Message[], expected: string | null): FirstPrompt | null {
  const prompt = messages.findLast(({ role }) => role === "user" || role === "text")?.text;
  const system = messages.find(({ role }) => role === "system")?.text ?? "";
  return prompt ? { system, prompt, expected } : null;
}
