import type { UseQueryResult } from "@tanstack/react-query";

type Query = Pick<UseQueryResult, "isPending" | "fetchStatus" | "failureReason">;

/** Returns whether a query has an answer or a failure, or asks for nothing. */
export function isSettled({ isPending, fetchStatus, failureReason }: Query): boolean {
  return !isPending || fetchStatus === "idle" || failureReason !== null;
}
