/** The texts of a row of an eval: what was asked, what was expected, what a model wrote. */

import { isRecord } from "@/lib/isRecord";
import type { ChangedRow, OutputItem } from "@/types/api";

type Item = OutputItem["datasource_item"];
type Sample = OutputItem["sample"];
interface Message {
  role: string;
  content: unknown;
}

/** Returns what a model was asked: the messages that were sent, or those of the row. Else the row itself as JSON. */
export function promptOf(item: Item, { input = [] }: Sample): string {
  const messages = input.length ? input : messagesOf(item.input);
  return messages.length ? asText(messages) : JSON.stringify(item, null, 2);
}

/** Returns the answer that the row holds; null if it holds none. */
export function expectedOf(item: Item): string | null {
  const { reference, answer } = item;
  if (typeof reference === "string") return reference;
  return typeof answer === "string" ? answer : null;
}

/** Returns what the model wrote; null if no criterion needed it to write. */
export function answerOf({ output = [] }: Sample): string | null {
  return output.length ? output.map(({ content }) => content).join("\n") : null;
}

/** Returns the samples of a row by both models. */
export const answersOf = ({ base, tuned }: ChangedRow) => [answerOf(base.sample), answerOf(tuned.sample)] as const;

function messagesOf(value: unknown): Message[] {
  return Array.isArray(value) ? value.filter((one): one is Message => isRecord(one) && typeof one.role === "string") : [];
}

/** A single message needs no role. */
function asText(messages: readonly Message[]): string {
  const texts = messages.map(({ role, content }) => {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    return messages.length === 1 ? text : `${role}: ${text}`;
  });
  return texts.join("\n\n");
}
