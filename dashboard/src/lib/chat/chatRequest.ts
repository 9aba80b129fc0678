/** The request for an answer, and the same request as code. */

import type { PlaygroundSearch } from "@/lib/addresses/playgroundSearch";
import { curlPost, pythonClient, pythonLiteral, shellWord } from "@/lib/text/code";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  temperature?: number;
  top_p?: number;
  max_completion_tokens?: number;
  seed?: number;
  store?: true;
  response_format?: { type: "json_schema"; json_schema: { name: string; strict: true; schema: object } };
}

/** Raises SyntaxError if the schema of the settings is not JSON. */
export function chatRequest(model: string, messages: ChatMessage[], settings: PlaygroundSearch): ChatRequest {
  const { system, temperature, top_p, max_tokens, seed, schema, store } = settings;
  return {
    model,
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    ...(temperature !== undefined && { temperature }),
    ...(top_p !== undefined && { top_p }),
    ...(max_tokens !== undefined && { max_completion_tokens: max_tokens }),
    ...(seed !== undefined && { seed }),
    ...(store && { store }),
    ...(schema && { response_format: { type: "json_schema", json_schema: named(JSON.parse(schema) as object) } }),
  };
}

const named = (schema: object) => ({ name: "answer", strict: true as const, schema });

/** Returns what is wrong with the text of a schema; null if nothing is. */
export function schemaProblem(text: string): string | null {
  try {
    const schema: unknown = JSON.parse(text || "{}");
    return typeof schema === "object" && schema !== null && !Array.isArray(schema) ? null : "A schema is a JSON object.";
  } catch (error) {
    return `This is not JSON: ${(error as Error).message}`;
  }
}

export function pythonOf(request: ChatRequest, origin: string): string {
  const lines = Object.entries(request).map(([name, value]) => `    ${name}=${pythonLiteral(value, "    ")},`);
  return `${pythonClient(origin)}
answer = client.chat.completions.create(
${lines.join("\n")}
)
print(answer.choices[0].message.content)`;
}

export function curlOf(request: ChatRequest, origin: string): string {
  return curlPost(`${origin}/v1/chat/completions`, request);
}

/** `tunery chat` with the first prompt. The command has no option for a schema. */
export function cliOf({ model, messages, temperature, max_completion_tokens }: ChatRequest, origin: string): string {
  const system = messages.find(({ role }) => role === "system")?.content;
  const prompt = messages.find(({ role }) => role === "user")?.content ?? "";
  const options = [
    `--base-url ${shellWord(`${origin}/v1`)}`,
    ...(system === undefined ? [] : [`--system ${shellWord(system)}`]),
    ...(temperature === undefined ? [] : [`--temperature ${temperature}`]),
    ...(max_completion_tokens === undefined ? [] : [`--max-tokens ${max_completion_tokens}`]),
  ];
  return [`printf %s ${shellWord(prompt)} | tunery chat ${shellWord(model)}`, ...options].join(" \\\n  ");
}
