import { useQuery } from "@tanstack/react-query";

import { metricsQuery } from "@/api/metrics";
import { hasEnded, type Job } from "@/api/types";
import { NOTHING, significant } from "@/lib/format";
import { placeOfLast } from "@/lib/series";
import { sparkPath } from "@/lib/sparkline";

const MOST_STEPS = 5000; // one answer of the API
const POLL_MS = 30_000; // of what nobody reads off to the step
const SPARK = { width: 96, height: 24 };

/** A job's training loss in small, of no very long job. Asked for once the row is seen. */
export function Sparkline({ job }: { job: Job }) {
  const { step } = job.progress;
  const { data } = useQuery({
    ...metricsQuery(job.id, null, hasEnded(job)),
    enabled: step > 0 && step <= MOST_STEPS,
    refetchInterval: hasEnded(job) ? false : POLL_MS,
  });
  const losses = data?.series.column("train_loss");
  const last = losses ? placeOfLast(losses) : -1;
  if (!losses || last < 0) return <span className="text-muted">{NOTHING}</span>;
  return (
    <svg
      role="img"
      aria-label={`Training loss, now ${significant(losses[last])}`}
      width={SPARK.width}
      height={SPARK.height}
      className="inline-block text-accent"
    >
      <path d={sparkPath(losses, SPARK)} fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinejoin="round" />
    </svg>
  );
}
