/** The words for an entry of the audit log. */

import { flatten } from "@/lib/text/flatten";
import type { ApiKey, AuditLog } from "@/types/api";

/** Returns the name of the key that acted, or its id if the key was revoked. */
export function actorOf({ actor }: AuditLog, keys: readonly ApiKey[]): string {
  if (actor.type === "operator") return "operator, on the command line";
  const id = actor.api_key?.id ?? "";
  return keys.find((key) => key.id === id)?.name ?? `key ${id}`;
}

/** `job.created` becomes `job created`. */
export const actionOf = ({ type }: AuditLog): string => type.replaceAll(/[._]/g, " ");

export function detailsOf({ details }: AuditLog): string {
  return details ? flatten(details).map(([name, value]) => `${name} ${value}`).join(", ") : "";
}
