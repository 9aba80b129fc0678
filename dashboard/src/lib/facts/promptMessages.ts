/** The messages of a prompt that the worker reports as one text: what the chat template made, without special tokens. */

export interface PromptMessage {
  role: string;
  text: string;
}

const ROLES = "system|developer|user|assistant|tool";
const HEAD = new RegExp(`(?:^|\\n)(${ROLES})\\n`, "g");
const INVITATION = /\n(assistant|model)\s*$/;

/**
 * Returns the messages, if the text begins with a role in a line of its own and ends with the invitation to the assistant,
 * as templates of ChatML's form make it. A prompt of another form, or one whose beginning was cut off, is null.
 */
export function promptMessages(prompt: string): PromptMessage[] | null {
  const body = prompt.replace(INVITATION, "\n");
  const heads = [...body.matchAll(HEAD)];
  if (body === prompt || heads[0]?.index !== 0) return null;
  return heads.map((head, at) => ({
    role: head[1] ?? "",
    text: body.slice(head.index + head[0].length, heads[at + 1]?.index).trim(),
  }));
}
