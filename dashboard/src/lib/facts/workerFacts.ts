/** Facts that follow from a worker or a queue. */

import type { Queue, Worker } from "@/types/api";

/** Returns the worker's host if it is known, or else the end of its id. The beginning of an id is a time. */
export function workerName(worker: Worker): string {
  return worker.host ?? `Worker ${worker.id.slice(-6)}`;
}

export function memoryPercent({ device }: Worker): number {
  return device.memory_bytes ? Math.min(100, (100 * device.memory_used_bytes) / device.memory_bytes) : 0;
}

/** Returns the number of waiting jobs of other projects. */
export const othersWaiting = (queue: Queue): number => queue.waiting_jobs - queue.own_waiting_jobs;
