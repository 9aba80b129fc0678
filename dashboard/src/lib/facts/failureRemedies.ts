/** What to do about a failure, where the API's code tells more than its sentence. */

const ADVICE: Record<string, string> = {
  out_of_memory: "Take a smaller batch_size or max_length, a smaller rank, or a worker with more memory.",
  non_finite_loss: "Lower the learning rate or max_grad_norm, and look at the rows that the message names.",
  model_unavailable: "Look at the catalog's entry of the base model and at the worker's network and disk.",
  unsupported_architecture: "Take another base model, or another adapter: GET /v1/methods says which go together.",
  nothing_to_learn: "No token of these rows is trained on: look at their roles, their weights and at max_length.",
  file_not_found: "The file was deleted. Upload it again and create the job anew.",
  damaged_file: "The stored file is not what was uploaded. Upload it again and create the job anew.",
  worker_lost: "The worker ended while it trained this job, several times: see its log, most often for memory.",
  internal_error: "This is a fault of Tunery. The worker's log has the details.",
};

export function adviceOn(code: string): string | undefined {
  return ADVICE[code];
}
