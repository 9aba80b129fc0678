/** Requests about portability: which runtimes load an adapter, and the measurement of it. */

import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { JUST_READ_MS } from "@/api/paged";
import type { Portability } from "@/api/types";

const POLL_MS = 2000;

const keyOf = (adapterId: string) => ["adapter", adapterId, "portability"] as const;
const paramsOf = (adapterId: string) => ({ path: { adapter_id: adapterId } });

/** The report. It is read again while a worker measures. */
export function portabilityQuery(adapterId: string) {
  return queryOptions({
    queryKey: keyOf(adapterId),
    queryFn: async ({ client, signal }) => {
      const before = client.getQueryData<Portability>(keyOf(adapterId));
      const report = await body(api.GET("/v1/adapters/{adapter_id}/portability", { params: paramsOf(adapterId), signal }));
      if (isUnderWay(before) && !isUnderWay(report)) await readFilesAgain(client, adapterId);
      return report;
    },
    staleTime: JUST_READ_MS,
    refetchInterval: ({ state }) => (isUnderWay(state.data) ? POLL_MS : false),
  });
}

/** A measurement that has ended is on the adapter's model card, whose file has another hash then. */
async function readFilesAgain(client: QueryClient, adapterId: string): Promise<void> {
  await client.invalidateQueries({ queryKey: ["adapter", adapterId], exact: true });
}

export function isUnderWay(report: Portability | undefined): boolean {
  return report?.measurement?.finished_at === null;
}

/** Starts a measurement, or cancels the one that is under way. */
export function useMeasurement(adapterId: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (action: "start" | "cancel") =>
      action === "start"
        ? body(api.POST("/v1/adapters/{adapter_id}/portability", { params: paramsOf(adapterId) }))
        : body(api.POST("/v1/adapters/{adapter_id}/portability/cancel", { params: paramsOf(adapterId) })),
    onSuccess: (report) => {
      client.setQueryData(keyOf(adapterId), report);
    },
  });
}
