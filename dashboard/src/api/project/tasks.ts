/** What all tasks have in common: exports and compositions. */

import type { Composition, Export } from "@/api/types";

export type TaskState = Pick<Export | Composition, "status" | "created_at" | "progress" | "error">;

export const TASK_POLL_MS = 2000;

export const isUnderWay = ({ status }: Pick<TaskState, "status">): boolean => status === "queued" || status === "running";
