/** The API's shapes under the names that the pages use. */

import type { Schema } from "@/lib/schemas/schema";

import type { components } from "./schema.gen";

type Schemas = components["schemas"];

export type Job = Schemas["JobObject"];
export type EventPage = Schemas["Page_EventObject_"];
export type JobEvent = Schemas["EventObject"];
export type Checkpoint = Schemas["CheckpointObject"];
export type Candidates = Schemas["CandidatesObject"];
export type Candidate = Schemas["CandidateObject"];
export type RowLoss = Schemas["RowObject"];
export type FileCheck = Schemas["CheckObject"];
export type FileObject = Schemas["FileObject"];
export type CheckReport = Schemas["ContentReport"];
export type CheckFinding = Schemas["ContentFinding"];
export type FileConversion = Schemas["ConversionObject"];
export type RowPreview = Schemas["RowPreview"];
export type ConversationPreview = Schemas["ConversationPreview"];
export type Adapter = Schemas["AdapterObject"];
export type Estimate = Schemas["Estimate"];
export type Export = Schemas["ExportObject"];
export type Composition = Schemas["CompositionObject"];
export type Portability = Schemas["PortabilityObject"];
export type RuntimeReport = Schemas["RuntimeReport"];
export type Descendant = Schemas["DescendantObject"];
export type Eval = Schemas["EvalObject"];
export type EvalRun = Schemas["EvalRunObject"];
export type CriterionResult = Schemas["CriterionResult"];
export type Comparison = Schemas["ComparisonObject"];
export type CriterionComparison = Schemas["CriterionComparison"];
export type ChangedRow = Schemas["ChangedRow"];
export type OutputItem = Schemas["OutputItemObject"];
export type MeasuredRank = Schemas["MeasuredRank"];
export type BaseModel = Schemas["BaseModelObject"];
export type BaseModelCheck = Schemas["BaseModelCheck"];
export type DeviceFit = Schemas["DeviceFit"];
export type Worker = Schemas["WorkerObject"];
export type Queue = Schemas["QueueObject"];
export type ApiKey = Schemas["ApiKeyObject"];
export type Endpoint = Schemas["EndpointObject"];
export type EventType = Schemas["TestEndpoint"]["event_type"];
export type Delivery = Schemas["DeliveryObject"];
export type AuditLog = Schemas["AuditLogObject"];
export type UsageBucket = Schemas["UsageBucket"];
export type Method = Omit<Schemas["MethodObject"], "schema"> & { schema: Schema };

/** The request for a job. The type in the OpenAPI document would make every field with a default required. */
export interface CreateJob {
  model: string;
  training_file: string;
  validation_file?: string | null;
  /** The share or the number of the training rows that are held out for validation. */
  validation_split?: number | null;
  /** The variants that are trained beside the training rows. */
  augmentation?: Record<string, unknown> | null;
  suffix?: string | null;
  seed?: number | null;
  metadata?: Record<string, string> | null;
  method?: { type: string; [objective: string]: unknown };
  adapter?: { type: string; [option: string]: unknown };
  training?: Record<string, unknown>;
  integrations?: Job["integrations"];
  /** Compares the result with the base model at the job's end. An empty object takes every default. */
  evaluate?: Record<string, unknown> | null;
  /** Values to try, by their path in the request. A request with them is a request for a sweep. */
  parameters?: Readonly<Record<string, readonly unknown[]>>;
}

/** The request for an export. */
export interface ExportRequest {
  format: Export["request"]["format"];
  rank?: number;
  quantization?: string;
  destination?: ExportDestination;
}

/** What the search for weights improves. */
export type SearchCriterion = "loss" | "token_accuracy" | "exact_match";

/** The request for a composition. */
export interface ComposeRequest {
  adapters: readonly { adapter: string; weight: number }[];
  method: Composition["request"]["method"];
  density?: number;
  majority_sign_method?: "total" | "frequency";
  svd_rank?: number;
  svd_clamp?: number;
  suffix?: string;
  search?: { files: readonly string[]; rows?: number; trials?: number; criterion?: SearchCriterion };
}

/** Where an export is pushed to. The secret is the name of one of the project's. */
export type ExportDestination =
  | { type: "hub"; repository: string; secret: string }
  | { type: "s3"; bucket: string; prefix: string; secret: string };

export const STATUSES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export type Status = (typeof STATUSES)[number];

export function hasEnded(job: Job): boolean {
  return job.status === "succeeded" || job.status === "failed" || job.status === "cancelled";
}
