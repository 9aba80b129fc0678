/** The API's shapes under the names that the pages use. */

import type { components } from "./schema.gen";

type Schemas = components["schemas"];

export type Job = Schemas["JobObject"];
export type EventPage = Schemas["Page_EventObject_"];
export type JobEvent = Schemas["EventObject"];
export type Checkpoint = Schemas["CheckpointObject"];
export type FileObject = Schemas["FileObject"];
export type Adapter = Schemas["AdapterObject"];
export type MeasuredRank = Schemas["MeasuredRank"];
export type Worker = Schemas["WorkerObject"];
export type Queue = Schemas["QueueObject"];
export type ApiKey = Schemas["ApiKeyObject"];
export type Endpoint = Schemas["EndpointObject"];
export type EventType = Schemas["TestEndpoint"]["event_type"];
export type Delivery = Schemas["DeliveryObject"];
export type AuditLog = Schemas["AuditLogObject"];
export type UsageBucket = Schemas["UsageBucket"];

export const STATUSES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export type Status = (typeof STATUSES)[number];

export function hasEnded(job: Job): boolean {
  return job.status === "succeeded" || job.status === "failed" || job.status === "cancelled";
}
