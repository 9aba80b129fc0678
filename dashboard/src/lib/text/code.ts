/** Values as they are written in code that the reader can copy. */

import { isRecord } from "@/lib/isRecord";

/** Writes a value in Python. JSON's strings and numbers are valid in Python too. */
export function pythonLiteral(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((one) => pythonLiteral(one, indent)).join(", ")}]`;
  if (!isRecord(value)) return JSON.stringify(value);
  const entries = Object.entries(value);
  if (!entries.length) return "{}";
  const deeper = `${indent}    `;
  const lines = entries.map(([key, one]) => `${deeper}${JSON.stringify(key)}: ${pythonLiteral(one, deeper)},`);
  return `{\n${lines.join("\n")}\n${indent}}`;
}

/** Writes a word of a shell's command line. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_.,:=/@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Writes a POST request with curl. It takes the key from TUNERY_API_KEY. */
export function curlPost(url: string, request: object): string {
  return `curl ${shellWord(url)} \\
  -H "Authorization: Bearer $TUNERY_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d ${shellWord(JSON.stringify(request, null, 2))}`;
}

/** The first lines of Python code that uses OpenAI's client. */
export function pythonClient(origin: string): string {
  return `import os

from openai import OpenAI

client = OpenAI(base_url=${pythonLiteral(`${origin}/v1`)}, api_key=os.environ["TUNERY_API_KEY"])`;
}
