/** The formats of an export, and what its report says, in words. */

import { significant } from "@/lib/text/format";
import type { Export, ExportDestination } from "@/types/api";

type ExportRequest = Export["request"];

/** The formats with their names, the usual one first. */
export const FORMATS: readonly { format: ExportRequest["format"]; name: string }[] = [
  { format: "lora", name: "Plain LoRA (PEFT, vLLM, SGLang)" },
  { format: "gguf", name: "GGUF model (llama.cpp, Ollama)" },
  { format: "gguf_adapter", name: "GGUF adapter (llama.cpp)" },
  { format: "merged", name: "Merged model (safetensors)" },
  { format: "mlx", name: "MLX adapter" },
];

/** The forms of a GGUF model's weights, the default first. */
export const QUANTIZATIONS = ["q8_0", "q4_0", "f16"] as const;

export const isQuantized = (format: string): boolean => format === "gguf";
export const takesRank = (format: string): boolean => ["lora", "gguf_adapter", "mlx"].includes(format);

/** Returns the request that the fields of the form become. Options that the format does not have are left out. */
export function exportRequest(fields: Record<"format" | "quantization" | "rank" | "address" | "secret", string>): ExportRequest {
  const { format, quantization, rank, address, secret } = fields;
  const destination = destinationOf(address, secret);
  return {
    format,
    ...(isQuantized(format) && { quantization }),
    ...(takesRank(format) && rank !== "" && { rank: Number(rank) }),
    ...(destination && { destination }),
  } as ExportRequest; // the form offers only what the API takes
}

/** The format of an export with its options, such as "GGUF model (llama.cpp, Ollama), q8_0". */
export function formatWords({ request }: Export): string {
  const known = FORMATS.find(({ format }) => format === request.format);
  const options = [
    "quantization" in request ? request.quantization : null,
    "rank" in request && request.rank != null ? `rank ${request.rank}` : null,
  ];
  return [known?.name ?? request.format, ...options.filter(Boolean)].join(", ");
}

/** The destination that the address names: "hub:org/name" or "s3://bucket/prefix". Undefined for others. */
export function destinationOf(address: string, secret: string): ExportDestination | undefined {
  const hub = /^hub:(.+)$/.exec(address.trim());
  if (hub?.[1]) return { type: "hub", repository: hub[1], secret };
  const s3 = /^s3:\/\/([^/]+)\/?(.*)$/.exec(address.trim());
  return s3?.[1] ? { type: "s3", bucket: s3[1], prefix: s3[2] ?? "", secret } : undefined;
}

/** Where the files of an export were pushed to. Null if they were not. */
export function pushedTo({ report }: Export): string | null {
  const push = report?.push as { url?: string } | undefined;
  return push?.url ?? null;
}

/** What the export costs in exactness. Null if the report does not say. */
export function exactness({ report }: Export): string | null {
  if (!report) return null;
  const error = report.relative_error;
  if (typeof error === "number") {
    return error === 0 ? `Exact, at rank ${String(report.rank)}.` : `The reduced rank loses ${significant(100 * error)} % of the update.`;
  }
  const rounded = report.after_rounding as { same_top_token?: number; mean_kl_nats?: number } | undefined;
  if (rounded?.same_top_token === undefined) return null;
  return (
    `The next token is the same at ${significant(100 * rounded.same_top_token)} % of the positions of six short prompts ` +
    `(divergence ${significant(rounded.mean_kl_nats)} nats).`
  );
}
