import { queryOptions } from "@tanstack/react-query";

import { POLL_MS } from "@/api/jobs/jobs";
import type { Series } from "@/lib/charts/series";

import { StepReader } from "./stepReader";

interface Metrics {
  reader: StepReader;
  series: Series;
  version: number;
}

/**
 * The metrics of a job, or of one of its candidates. Each poll asks for the steps after the last known step. `over` says
 * that no more steps will come. The metrics are then read once more from the start, because the metrics of a job with
 * candidates become those of the winner at its end.
 */
export function metricsQuery(id: string, candidate: number | null, over: boolean) {
  const queryKey = ["metrics", id, candidate, over];
  return queryOptions<Metrics>({
    queryKey,
    queryFn: async ({ client, signal }): Promise<Metrics> => {
      const known = client.getQueryData<Metrics>(queryKey)?.reader;
      const reader = known ?? new StepReader(id, candidate, () => client.setQueryData(queryKey, metricsOf(reader)));
      await reader.readNew(signal);
      return metricsOf(reader);
    },
    structuralSharing: false, // the series grows in place
    placeholderData: (before, of) =>
      of?.queryKey[1] === id && of.queryKey[2] === candidate ? before : undefined,
    refetchInterval: over ? false : POLL_MS,
    staleTime: over ? Infinity : POLL_MS,
  });
}

function metricsOf(reader: StepReader): Metrics {
  return { reader, series: reader.series, version: reader.series.version };
}
