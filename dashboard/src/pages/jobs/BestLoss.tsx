import { integer, NOTHING, significant } from "@/lib/text/format";
import type { Job } from "@/types/api";

/** The smallest loss so far on the whole validation set. */
export function BestLoss({ job }: { job: Job }) {
  const { best_valid_loss, best_step } = job.progress;
  if (best_valid_loss === null) return <span className="text-muted">{NOTHING}</span>;
  return <span title={`at step ${integer(best_step)}`}>{significant(best_valid_loss)}</span>;
}
