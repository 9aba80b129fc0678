/** The words for webhooks and their deliveries. */

import type { Delivery } from "@/types/api";

/** Returns the end of an event type, in which the types differ: `succeeded` for `fine_tuning.job.succeeded`. */
export const eventName = (type: string): string => type.split(".").at(-1) ?? type;

/** Returns the outcome of a delivery, and how often it was tried. */
export function deliveryWords({ status, attempts, response_code, error }: Delivery): string {
  const tried = attempts > 1 ? `, tried ${attempts} times` : "";
  const answer = error ?? (response_code === null ? "" : `answered ${response_code}`);
  return `${status}${tried}${answer && `: ${answer}`}`;
}
