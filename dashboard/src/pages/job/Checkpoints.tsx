import { useQuery } from "@tanstack/react-query";

import { checkpointContentPath, checkpointsQuery } from "@/api/details";
import type { Checkpoint, Job } from "@/api/types";
import { integer, significant } from "@/lib/text/format";
import { bestCheckpoint } from "@/lib/facts/jobFacts";
import { Ago } from "@/parts/basics/Ago";
import { Download } from "@/parts/basics/DownloadLink";
import { Icon } from "@/parts/basics/Icon";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";

export function Checkpoints({ job }: { job: Job }) {
  const { data, failureReason } = useQuery(checkpointsQuery(job.id));
  const best = bestCheckpoint(data ?? []);
  return (
    <Section title="Checkpoints">
      {failureReason && !data && <Failure error={failureReason} />}
      {data === undefined && !failureReason && <p className="px-4 pb-4 text-muted">Reading…</p>}
      {data?.length === 0 && <p className="px-4 pb-4 text-muted">The first one is made at the end of an epoch.</p>}
      {data !== undefined && data.length > 0 && (
        <div className="max-h-72 overflow-auto" tabIndex={0} role="region" aria-label="Checkpoints">
          <table className="data-table">
            <thead className="sticky top-0">
              <tr>
                <th scope="col">Step</th>
                <th scope="col" className="number">
                  Validation loss
                </th>
                <th scope="col" className="number">
                  Training loss
                </th>
                <th scope="col" className="number">
                  Made
                </th>
                <th scope="col">
                  <span className="sr-only">Weights</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map((checkpoint) => (
                <Row key={checkpoint.id} checkpoint={checkpoint} best={checkpoint === best} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {data !== undefined && data.length > 0 && (
        <p className="fact border-t border-line px-4 py-1.5">Kept are those of the last three epochs, and the best one.</p>
      )}
    </Section>
  );
}

function Row({ checkpoint, best }: { checkpoint: Checkpoint; best: boolean }) {
  const { metrics, step_number, fine_tuned_model_checkpoint, created_at } = checkpoint;
  return (
    <tr className={best ? "bg-tint" : ""}>
      <td title={fine_tuned_model_checkpoint}>
        <span className="inline-flex items-center gap-2">
          {integer(step_number)}
          {best && (
            <span className="inline-flex items-center gap-1 text-accent">
              <Icon name="best" />
              best
            </span>
          )}
        </span>
      </td>
      <td className="number">{significant(metrics.full_valid_loss as number | null)}</td>
      <td className="number">{significant(metrics.train_loss as number | null)}</td>
      <td className="number whitespace-nowrap">
        <Ago unix={created_at} />
      </td>
      <td className="number">
        <Download href={checkpointContentPath(checkpoint)} name={`the weights at step ${integer(step_number)}`} />
      </td>
    </tr>
  );
}
