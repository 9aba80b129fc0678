/** The experiment trackers that a draft reports to. */

import type { CreateJob } from "@/api/types";

import type { JobSchemas } from "./jobSchemas";
import { isRecord, type Schema } from "@/lib/schemas/schema";
import { type Problem, problems } from "@/lib/schemas/schemaProblems";

/** One that this service offers; MLflow with the servers that may be named, the default first. */
export interface Tracker {
  id: string;
  tracking_uris: readonly string[];
}

export type Integrations = NonNullable<CreateJob["integrations"]>;

/** What can be set of a tracker; null where nothing can. Of servers those that are on offer are the choice. */
export function trackerSettings(type: string, schemas: JobSchemas, offered: readonly Tracker[]): Schema | null {
  const settings = schemas.trackers[type]?.settings ?? null;
  const uris = offered.find(({ id }) => id === type)?.tracking_uris ?? [];
  if (!settings || !uris.length) return settings;
  const { description } = settings.properties?.tracking_uri ?? {};
  const tracking_uri = { enum: [...uris], default: uris[0], ...(description !== undefined && { description }) };
  return { ...settings, properties: { ...settings.properties, tracking_uri } };
}

export function settingsOf(integration: Integrations[number]): Record<string, unknown> {
  const values = (integration as unknown as Record<string, unknown>)[integration.type];
  return isRecord(values) ? values : {};
}

/** The place of a tracker's settings, as the API's `param` names it. */
export function settingsPath(integrations: Integrations, type: string): string {
  return `integrations.${integrations.findIndex((one) => one.type === type)}.${type}`;
}

/** The same list with a tracker's settings; taken out where they are null. */
export function withTracker(integrations: Integrations, type: string, settings: Record<string, unknown> | null, schema: Schema | null) {
  if (settings === null) return integrations.filter((one) => one.type !== type);
  const changed = { type, ...(schema && { [type]: settings }) } as unknown as Integrations[number];
  const at = integrations.findIndex((one) => one.type === type);
  return at < 0 ? [...integrations, changed] : integrations.with(at, changed);
}

export function trackerProblems(integrations: Integrations, schemas: JobSchemas, offered: readonly Tracker[]): Problem[] {
  return integrations.flatMap((one) => {
    const schema = trackerSettings(one.type, schemas, offered);
    return schema ? problems(settingsOf(one), schema, settingsPath(integrations, one.type)) : [];
  });
}
