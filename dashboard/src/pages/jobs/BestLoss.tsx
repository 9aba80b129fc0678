import { useQuery } from "@tanstack/react-query";

import { checkpointsQuery } from "@/api/details";
import type { Job } from "@/api/types";
import { NOTHING, significant } from "@/lib/format";
import { bestCheckpoint } from "@/lib/jobFacts";

/** The smallest loss on the whole validation set, at the end of an epoch. Asked for once the row is seen. */
export function BestLoss({ job }: { job: Job }) {
  const wanted = job.validation_file !== null && (job.progress.epoch >= 1 || job.status === "succeeded");
  const { data } = useQuery({ ...checkpointsQuery(job), enabled: wanted });
  const best = bestCheckpoint(data ?? []);
  if (!best) return <span className="text-muted">{NOTHING}</span>;
  return <span title={`at step ${best.step_number}`}>{significant(best.metrics.full_valid_loss as number)}</span>;
}
