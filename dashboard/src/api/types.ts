/** The API's shapes under the names that the pages use. */

import type { components } from "./schema.gen";

type Schemas = components["schemas"];

export type Job = Schemas["JobObject"];
export type EventPage = Schemas["Page_EventObject_"];
export type JobEvent = Schemas["EventObject"];
export type Checkpoint = Schemas["CheckpointObject"];
export type Candidates = Schemas["CandidatesObject"];
export type Candidate = Schemas["CandidateObject"];
export type FileObject = Schemas["FileObject"];

export const STATUSES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export type Status = (typeof STATUSES)[number];

export function hasEnded(job: Job): boolean {
  return job.status === "succeeded" || job.status === "failed" || job.status === "cancelled";
}
