/** Facts that follow from an adapter and from the files in its folder. */

import type { Adapter } from "@/types/api";

/** The manifest that the worker writes. An imported or a composed adapter has no dataset. */
export interface Manifest {
  base_model?: string;
  base_sha256?: string;
  dataset?: Record<"training_file" | "validation_file", { id: string; sha256: string; rows: number | null } | null>;
  versions?: Record<string, string>;
}

export function totalBytes(adapter: Adapter): number {
  return adapter.files.reduce((sum, file) => sum + file.bytes, 0);
}

interface Snippet {
  label: string;
  code: string;
}

/** Returns the blocks of code in a model card. All of them load the card's adapter. */
export function snippetsOf(card: string): Snippet[] {
  return [...card.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].map(([, code = ""]) => ({ label: labelOf(code), code: code.trim() }));
}

function labelOf(code: string): string {
  if (code.includes("vllm serve")) return "vLLM";
  if (code.includes("from peft")) return "PEFT, on transformers";
  return code.includes("from transformers") ? "transformers" : "Code";
}
