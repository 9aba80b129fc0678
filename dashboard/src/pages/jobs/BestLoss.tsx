import { useQuery } from "@tanstack/react-query";

import { checkpointsQuery } from "@/api/details";
import type { Job } from "@/api/types";
import { NOTHING, significant } from "@/lib/format";
import { bestCheckpoint, bestOf } from "@/lib/jobFacts";

import { isShort, useRowMetrics } from "./rowMetrics";

/** The smallest loss on the whole validation set: of a short job from its metrics, else from its checkpoints. */
export function BestLoss({ job }: { job: Job }) {
  const series = useRowMetrics(job);
  const { data } = useQuery({ ...checkpointsQuery(job), enabled: job.validation_file !== null && !isShort(job) });
  const checkpoint = bestCheckpoint(data ?? []);
  const best = checkpoint
    ? { loss: checkpoint.metrics.full_valid_loss as number, step: checkpoint.step_number }
    : series && bestOf(series);
  if (!best) return <span className="text-muted">{NOTHING}</span>;
  return <span title={`at step ${best.step}`}>{significant(best.loss)}</span>;
}
