/** The experiment trackers to which a job reports. */

import { isRecord } from "@/lib/isRecord";
import type { Schema } from "@/lib/schemas/schema";
import { type Problem, problems } from "@/lib/schemas/schemaProblems";
import type { CreateJob } from "@/types/api";

import type { JobSchemas } from "./jobSchemas";

/** A tracker that this service offers. For MLflow it names the servers that a job may use, the default first. */
export interface Tracker {
  id: string;
  tracking_uris: readonly string[];
}

export type Integrations = NonNullable<CreateJob["integrations"]>;

/** Returns the schema of a tracker's settings; null if it has none. A server can be chosen only among those offered. */
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

/** Returns the path of a tracker's settings, as the API's `param` names it. */
export function settingsPath(integrations: Integrations, type: string): string {
  return `integrations.${integrations.findIndex((one) => one.type === type)}.${type}`;
}

/** Returns the list with a tracker's settings. Null settings remove the tracker. */
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
