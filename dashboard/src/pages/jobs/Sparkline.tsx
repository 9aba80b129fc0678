import { indexOfLast } from "@/lib/charts/series";
import { sparkPath } from "@/lib/charts/sparkline";
import { NOTHING, significant } from "@/lib/text/format";
import type { Job } from "@/types/api";

import { useRowMetrics } from "./useRowMetrics";

const SPARK = { width: 96, height: 24 };

/** A small curve of a job's training loss. */
export function Sparkline({ job }: { job: Job }) {
  const losses = useRowMetrics(job)?.column("train_loss");
  const last = losses ? indexOfLast(losses) : -1;
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
