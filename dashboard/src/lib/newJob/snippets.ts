/** A job's request as code that the reader can copy. All code takes the key from TUNERY_API_KEY. */

import { isRecord } from "@/lib/isRecord";
import { curlPost, pythonClient, pythonLiteral as literal, shellWord as quoted } from "@/lib/text/code";
import type { CreateJob } from "@/types/api";

/** The fields for which OpenAI's client has no parameter. */
const EXTRA = ["adapter", "training", "evaluate", "validation_split", "augmentation"];

export function jsonOf(request: CreateJob): string {
  return JSON.stringify(request, null, 2);
}

export function pythonOf(request: CreateJob, origin: string): string {
  const code = request.parameters ? sweepInPython(request) : jobInPython(request);
  return `${pythonClient(origin)}
${code}`;
}

/** OpenAI's client has no method for sweeps, so the code uses its general `post`. */
function sweepInPython(request: CreateJob): string {
  return `sweep = client.post(
    "/fine_tuning/sweeps",
    cast_to=object,
    body=${literal(request, "    ")},
)
print(sweep["job_id"])`;
}

function jobInPython(request: CreateJob): string {
  const own = Object.entries(request).filter(([name]) => !EXTRA.includes(name));
  const extra = Object.fromEntries(Object.entries(request).filter(([name]) => EXTRA.includes(name)));
  const parameters = [...own, ...(Object.keys(extra).length ? [["extra_body", extra] as const] : [])];
  const lines = parameters.map(([name, value]) => `    ${name}=${literal(value, "    ")},`);
  return `job = client.fine_tuning.jobs.create(
${lines.join("\n")}
)
print(job.id)`;
}

export function curlOf(request: CreateJob, origin: string): string {
  return curlPost(`${origin}/v1/fine_tuning/${request.parameters ? "sweeps" : "jobs"}`, request);
}

const OPTIONS = { validation_file: "--validation", suffix: "--suffix", seed: "--seed" } as const;

/** `tunery jobs create` or `tunery sweeps create`. A field without an option of its own is set by its path. */
export function cliOf(request: CreateJob, origin: string): string {
  const { model, training_file, method, adapter, training, metadata, integrations, evaluate, parameters } = request;
  const own = Object.entries(OPTIONS).flatMap(([name, option]) => {
    const value = request[name as keyof typeof OPTIONS];
    return value == null ? [] : [`${option}=${quoted(String(value))}`];
  });
  const options = method?.type ? (method as Record<string, unknown>)[method.type] : null;
  const { hyperparameters, ...beside } = isRecord(options) ? options : {};
  const parts = [
    `tunery ${parameters ? "sweeps" : "jobs"} create ${quoted(training_file)}`,
    `--base-url ${quoted(`${origin}/v1`)}`,
    `--model=${quoted(model)}`,
    ...own,
    ...Object.entries(parameters ?? {}).map(([path, values]) => `--try ${quoted(`${path}=${listed(values ?? [])}`)}`),
    ...(method && method.type !== "supervised" ? [parameters ? setting("method.type", method.type) : `--method ${quoted(method.type)}`] : []),
    ...settings(`method.${method?.type}`, beside),
    ...settings(`method.${method?.type}.hyperparameters`, hyperparameters),
    ...(request.validation_split == null ? [] : [setting("validation_split", request.validation_split)]),
    ...settings("augmentation", request.augmentation),
    ...settings("adapter", adapter),
    ...settings("training", training),
    ...(metadata ? [setting("metadata", metadata)] : []),
    ...evaluation(evaluate, parameters !== undefined),
    ...(integrations?.length ? [setting("integrations", integrations)] : []),
  ];
  return parts.join(" \\\n  ");
}

/** `--evaluate` asks for the defaults, and each `--set` changes one of them. `tunery sweeps create` has only `--set`. */
function evaluation(asked: CreateJob["evaluate"], isSweep: boolean): string[] {
  if (!asked) return [];
  if (isSweep) return [setting("evaluate", asked)];
  return ["--evaluate", ...settings("evaluate", asked)];
}

const listed = (values: readonly unknown[]) => values.map((value) => JSON.stringify(value)).join(",");

function settings(path: string, values: unknown): string[] {
  return Object.entries(isRecord(values) ? values : {}).map(([name, value]) => setting(`${path}.${name}`, value));
}

/** Writes a `--set`. A text stays as it is, unless the command would read it as JSON. */
function setting(path: string, value: unknown): string {
  const text = typeof value === "string" && !isJson(value) ? value : JSON.stringify(value);
  return `--set ${quoted(`${path}=${text}`)}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
