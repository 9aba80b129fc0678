/** How webhooks read. */

import type { Delivery } from "@/api/types";

/** `fine_tuning.job.succeeded` is told apart from the others by its end. */
export const eventName = (type: string): string => type.split(".").at(-1) ?? type;

/** What came of a delivery, and how often it was tried. */
export function deliveryWords({ status, attempts, response_code, error }: Delivery): string {
  const tried = attempts > 1 ? `, tried ${attempts} times` : "";
  const answer = error ?? (response_code === null ? "" : `answered ${response_code}`);
  return `${status}${tried}${answer && `: ${answer}`}`;
}
