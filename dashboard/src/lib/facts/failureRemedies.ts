const REMEDIES: Record<string, string> = {
  out_of_memory: "Use a smaller batch_size or max_length, a smaller rank, or a worker with more memory.",
  non_finite_loss: "Lower the learning rate or max_grad_norm, and check the rows that the message names.",
  model_unavailable: "Check the base model's entry in the catalog, and the worker's network and disk.",
  unsupported_architecture: "Use another base model or another adapter. GET /v1/methods lists which go together.",
  nothing_to_learn: "No token of these rows is trained on. Check their roles, their weights and max_length.",
  file_not_found: "The file was deleted. Upload it again and create a new job.",
  damaged_file: "The stored file differs from the uploaded file. Upload it again and create a new job.",
  worker_lost: "The worker ended several times while it trained this job. Its log says why; the usual reason is memory.",
  internal_error: "This is a fault of Tunery. The worker's log has the details.",
};

/** Returns what to do about a job's failure, if the API's code says more than its message. */
export function remedyFor(code: string): string | undefined {
  return REMEDIES[code];
}
