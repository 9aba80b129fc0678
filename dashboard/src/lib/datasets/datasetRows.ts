/** The first rows of a dataset: conversations, pairs of answers, labelled answers, prompts. */

import { isRecord } from "@/lib/isRecord";

export interface Message {
  role: string;
  text: string;
  /** The fields beside the text: calls of tools, a weight, a name. */
  notes: string[];
}

export type Row =
  | { kind: "chat"; messages: Message[] }
  | { kind: "preference"; prompt: Message[]; preferred: Message[]; other: Message[] }
  | { kind: "labelled"; prompt: Message[]; answer: Message[]; label: boolean }
  /** `beside` is the JSON of the keys that graders read; empty if there are none. */
  | { kind: "prompt"; prompt: Message[]; beside: string }
  | { kind: "text"; text: string };

type Fields = Record<string, unknown>;

const SEEN_BY_THE_MODEL = new Set(["messages", "tools", "parallel_tool_calls"]);
const SHAREGPT_ROLES: Record<string, string> = { human: "user", gpt: "assistant" };

/** Returns the rows of the beginning of a file, at most `most`. The last line is left out if the file goes on after it. */
export function rowsOf(text: string, isWhole: boolean, most: number): Row[] {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  if (!isWhole && lines.length > 1) lines.pop();
  return lines.filter((line) => line.trim()).slice(0, most).map(rowOf);
}

/** Returns the first row of a file as graders read it; undefined if it is not JSON, or is cut. */
export function firstItem(text: string): unknown {
  const line = text.replace(/^\uFEFF/, "").split(/\r?\n/).find((one) => one.trim());
  try {
    return JSON.parse(line ?? "");
  } catch {
    return undefined;
  }
}

function rowOf(line: string): Row {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return { kind: "text", text: line };
  }
  return (isRecord(row) && (prompt(row) ?? preference(row) ?? labelled(row) ?? chat(row))) || { kind: "text", text: line };
}

function chat(row: Fields): Row | null {
  return Array.isArray(row.messages) ? { kind: "chat", messages: messagesOf(row.messages) } : null;
}

/** Reads a conversation whose last message waits for an answer. */
function prompt(row: Fields): Row | null {
  const last: unknown = Array.isArray(row.messages) ? row.messages.at(-1) : null;
  if (!isRecord(last) || (last.role !== "user" && last.role !== "tool")) return null;
  const beside = Object.entries(row).filter(([key]) => !SEEN_BY_THE_MODEL.has(key));
  const shown = beside.length > 0 ? JSON.stringify(Object.fromEntries(beside)) : "";
  return { kind: "prompt", prompt: messagesOf(row.messages), beside: shown };
}

/** Reads a row in OpenAI's form, in TRL's form (with the prompt apart or in both answers), or in ShareGPT's form. */
function preference(row: Fields): Row | null {
  if (isRecord(row.input)) {
    const [prompt, preferred, other] = [row.input.messages, row.preferred_output, row.non_preferred_output];
    return { kind: "preference", prompt: messagesOf(prompt), preferred: messagesOf(preferred), other: messagesOf(other) };
  }
  if (!("chosen" in row) || !("rejected" in row)) return null;
  const [chosen, rejected] = [messagesOf(row.chosen), messagesOf(row.rejected)];
  if ("prompt" in row || "conversations" in row) {
    return { kind: "preference", prompt: messagesOf(row.prompt ?? row.conversations), preferred: chosen, other: rejected };
  }
  return { kind: "preference", prompt: chosen.slice(0, -1), preferred: chosen.slice(-1), other: rejected.slice(-1) };
}

function labelled(row: Fields): Row | null {
  if (typeof row.label !== "boolean") return null;
  if ("completion" in row) {
    return { kind: "labelled", prompt: messagesOf(row.prompt), answer: messagesOf(row.completion), label: row.label };
  }
  const messages = messagesOf(row.messages);
  return { kind: "labelled", prompt: messages.slice(0, -1), answer: messages.slice(-1), label: row.label };
}

function messagesOf(value: unknown): Message[] {
  if (typeof value === "string") return [{ role: "text", text: value, notes: [] }];
  return (Array.isArray(value) ? value : [value]).filter(isRecord).map(messageOf);
}

function messageOf(message: Fields): Message {
  const role = String(message.role ?? message.from ?? "message");
  const notes: string[] = [];
  if (typeof message.name === "string") notes.push(`name ${message.name}`);
  if (typeof message.weight === "number") notes.push(`weight ${message.weight}`);
  if (Array.isArray(message.tool_calls)) for (const call of message.tool_calls) notes.push(`calls ${callOf(call)}`);
  return { role: SHAREGPT_ROLES[role] ?? role, text: textOf(message.content ?? message.value), notes };
}

function callOf(call: unknown): string {
  const named = isRecord(call) && isRecord(call.function) ? call.function : {};
  return `${String(named.name ?? "a tool")}(${typeof named.arguments === "string" ? named.arguments : ""})`;
}

/** Returns the text of a content, which is a string or a list of parts. A part that is not text is named. */
function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (isRecord(part) ? String(part.text ?? `[${String(part.type)}]`) : "")).join("\n");
}
