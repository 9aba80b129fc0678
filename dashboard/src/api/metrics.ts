/** The metrics of a job or of one of its candidates, read in parts and kept. */

import { queryOptions } from "@tanstack/react-query";

import { Series } from "@/lib/series";

import { api, body } from "./client";
import { POLL_MS } from "./jobs";

const STEPS_PAGE = 5000;

interface Metrics {
  series: Series;
  version: number;
}

/**
 * Each poll asks for the steps after the last known one. `over` is whether none will come: what is read then is
 * read anew, since a search's metrics become the winner's at its end.
 */
export function metricsQuery(id: string, candidate: number | null, over: boolean) {
  const queryKey = ["metrics", id, candidate, over];
  return queryOptions({
    queryKey,
    queryFn: async ({ client, signal }): Promise<Metrics> => {
      const series = client.getQueryData<Metrics>(queryKey)?.series ?? new Series();
      for (let more = true; more; ) {
        const query = { after_step: series.lastStep, limit: STEPS_PAGE, ...(candidate !== null && { candidate }) };
        const params = { path: { fine_tuning_job_id: id }, query };
        const part = await body(api.GET("/v1/fine_tuning/jobs/{fine_tuning_job_id}/metrics", { params, signal }));
        series.add(part.data);
        more = part.has_more;
      }
      return { series, version: series.version };
    },
    structuralSharing: false, // the series grows in place
    placeholderData: (before: unknown, of?: { queryKey: readonly unknown[] }) =>
      (of?.queryKey[1] === id && of.queryKey[2] === candidate ? before : undefined) as never,
    refetchInterval: over ? false : POLL_MS,
    staleTime: over ? Infinity : POLL_MS,
  });
}
