import type { Job } from "@/api/types";
import { NOTHING, significant } from "@/lib/text/format";
import { placeOfLast } from "@/lib/charts/series";
import { sparkPath } from "@/lib/charts/sparkline";

import { useRowMetrics } from "./useRowMetrics";

const SPARK = { width: 96, height: 24 };

/** A job's training loss in small. */
export function Sparkline({ job }: { job: Job }) {
  const losses = useRowMetrics(job)?.column("train_loss");
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
