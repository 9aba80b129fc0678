/** Objects as the API answers them, but for what a test says. */

import type { Adapter, Checkpoint, Eval, EvalRun, Export, FileCheck, FileObject, JobEvent } from "@/types/api";

const AT = 1_795_000_000;

export function aFile(id: string, fields: Partial<FileObject> = {}): FileObject {
  return { id, bytes: 1200, created_at: AT, filename: "train.jsonl", purpose: "fine-tune", rows: 12, kind: "chat", ...fields };
}

export function anAdapter(id: string, fields: Partial<Adapter> = {}): Adapter {
  return {
    id,
    created_at: AT,
    job_id: null,
    job_deleted: false,
    base_model: "tiny",
    base_revision: null,
    model: `ft:tiny:shop:${id}:1`,
    type: "lora",
    kind: "adapter",
    files: [],
    training: {},
    imported: null,
    composed: null,
    lineage: [],
    ...fields,
  };
}

/** A checkpoint of the job 1. */
export function aCheckpoint(step: number, metrics: Checkpoint["metrics"] = {}): Checkpoint {
  return {
    id: `ftckpt-${String(step)}`,
    object: "fine_tuning.job.checkpoint",
    created_at: AT,
    fine_tuning_job_id: "ftjob-000001",
    fine_tuned_model_checkpoint: `ft:tiny:shop::1:ckpt-step-${String(step)}`,
    step_number: step,
    metrics: { step, ...metrics },
    best: false,
  };
}

/** Work that waits. */
export const WAITING = {
  created_at: AT,
  status: "queued",
  progress: { phase: null, percent: 0 },
  error: null,
  report: null,
  started_at: null,
  finished_at: null,
  expires_at: null,
} as const;

export function anExport(id: string, fields: Partial<Export> = {}): Export {
  return { ...WAITING, id, adapter_id: "adapter-1", request: { format: "lora" }, files: [], ...fields };
}

export function aCheck(id: string, fields: Partial<FileCheck> = {}): FileCheck {
  return { ...WAITING, id, file_id: "file-1", request: {}, counts: null, mended_file: null, ...fields };
}

export function anEval(id: string, fields: Partial<Eval> = {}): Eval {
  return {
    id,
    created_at: AT,
    updated_at: AT,
    name: "short answers",
    data_source_config: { type: "custom", schema: {} },
    testing_criteria: [{ type: "loss", name: "loss" }],
    metadata: null,
    job_id: null,
    ...fields,
  };
}

export function aRun(id: string, fields: Partial<EvalRun> = {}): EvalRun {
  return {
    ...WAITING,
    id,
    eval_id: "eval-1",
    name: id,
    model: "tiny",
    data_source: { type: "completions", model: "tiny", source: { type: "file_id", id: "file-1" } },
    metadata: null,
    error: {},
    result_counts: {},
    per_testing_criteria_results: [],
    per_model_usage: [],
    criteria: [],
    ...fields,
  };
}

export function aMessage(number: number, message: string, fields: Partial<JobEvent> = {}): JobEvent {
  return { id: `ftevent-${String(number).padStart(6, "0")}`, created_at: AT + number, level: "info", message, type: "message", data: null, ...fields };
}
