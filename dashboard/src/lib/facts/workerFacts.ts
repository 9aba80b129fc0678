/** What follows from a worker's fields. */

import type { Queue, Worker } from "@/api/types";

import { integer } from "@/lib/text/format";

/** The host, where it is told; else the end of its id, whose beginning is a time. */
export function workerName(worker: Worker): string {
  return worker.host ?? `Worker ${worker.id.slice(-6)}`;
}

export function memoryPercent({ device }: Worker): number {
  return device.memory_bytes ? Math.min(100, (100 * device.memory_used_bytes) / device.memory_bytes) : 0;
}

export const devicesInWords = (devices: number): string => (devices === 1 ? "1 device" : `${devices} devices`);

export function jobsInWords(count: number): string {
  return count === 1 ? "1 job" : `${integer(count)} jobs`;
}

/** What of a queue is other projects'. */
export const othersWaiting = (queue: Queue): number => queue.waiting_jobs - queue.own_waiting_jobs;
