import type { UsageBucket } from "@/types/api";

export interface Day {
  /** Unix seconds of its beginning, in UTC. */
  start: number;
  tokens: number;
  deviceSeconds: number;
}

/** Returns the usage of each day, added up over all results. */
export function daysOf(buckets: readonly UsageBucket[]): Day[] {
  return buckets.map(({ start_time, results }) => ({
    start: start_time,
    tokens: results.reduce((sum, one) => sum + one.trained_tokens, 0),
    deviceSeconds: results.reduce((sum, one) => sum + one.device_seconds, 0),
  }));
}

const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

export const dayName = (start: number): string => day.format(start * 1000);

/** Returns the heights of bars, from 0 to 1 in proportion to the largest value. All are 0 if nothing was used. */
export function heights(values: readonly number[]): number[] {
  const most = Math.max(0, ...values);
  return values.map((value) => (most ? value / most : 0));
}
