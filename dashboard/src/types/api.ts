/** The API's shapes under the names that the dashboard uses. All come from the API's document. */

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

/** The request for a job, or for a sweep, which has values to try by their path in the request. */
export type CreateJob = Schemas["CreateJob"] & Partial<Pick<Schemas["CreateSweep"], "parameters">>;
export type Grader = Schemas["ValidateGrader"]["grader"];
export type GraderRun = Schemas["GraderRun"];
export type ComposeRequest = Schemas["ComposeRequest"];
export type CreateEval = Schemas["CreateEval"];
export type HubModel = Schemas["HubModel"];
/** Where an export is pushed to. The secret is the name of one of the project's. */
export type ExportDestination = Schemas["HubDestination"] | Schemas["S3Destination"];
