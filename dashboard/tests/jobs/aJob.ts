import type { Job } from "@/types/api";

/** A job that has just been created, but for what the test says. Its ids sort by `number`. */
export function aJob(number: number, fields: Partial<Job> = {}): Job {
  const hyperparameters = { n_epochs: 3, batch_size: 4, learning_rate_multiplier: 1 };
  return {
    id: `ftjob-${String(number).padStart(6, "0")}`,
    object: "fine_tuning.job",
    created_at: 1_795_000_000 + number,
    started_at: null,
    finished_at: null,
    estimated_finish: null,
    status: "queued",
    error: null,
    model: "smollm2-135m-instruct",
    base_model: "smollm2-135m-instruct",
    lineage: [],
    fine_tuned_model: null,
    user_provided_suffix: null,
    organization_id: "proj_1",
    training_file: "file-1",
    validation_file: null,
    validation_split: null,
    augmentation: null,
    prepared: null,
    estimate: null,
    measured: null,
    result_files: [],
    trained_tokens: null,
    seed: 1,
    hyperparameters,
    method: { type: "supervised", supervised: { hyperparameters } },
    metadata: null,
    integrations: [],
    adapter: { type: "lora" },
    training: { devices: 1 },
    evaluate: null,
    adapter_id: null,
    progress: {
      step: 0,
      total_steps: null,
      epoch: 0,
      tokens_per_second: null,
      percent: null,
      phase: "queued",
      queue_position: null,
      best_valid_loss: null,
      best_step: null,
    },
    ...fields,
  };
}

/** The jobs with these numbers, newest first, as a page has them. */
export function jobsFrom(newest: number, oldest: number): Job[] {
  return Array.from({ length: newest - oldest + 1 }, (_, at) => aJob(newest - at));
}
