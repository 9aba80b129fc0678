import { useNow } from "@/lib/browser/useNow";
import { hasEnded, jobName, secondsLeft } from "@/lib/facts/jobFacts";
import { counted, duration, integer } from "@/lib/text/format";
import { ProgressBar } from "@/components/basics/ProgressBar";
import type { Job } from "@/types/api";

/** The position in the queue, or the progress with the time left, or the steps of a job that has ended. */
export function JobProgress({ job }: { job: Job }) {
  const { percent, step, total_steps, queue_position } = job.progress;
  if (job.status === "queued" && !step) {
    return <span className="text-muted">{queue_position ? `position ${queue_position} in the queue` : "waiting"}</span>;
  }
  if (hasEnded(job)) return <span className="text-muted">{counted(step, "step")}</span>;
  return (
    <span className="grid gap-1">
      <ProgressBar percent={percent ?? 0} label={`Progress of ${jobName(job)}`} />
      <span className="fact flex justify-between">
        <span>
          {integer(step)} / {integer(total_steps)}
        </span>
        <TimeLeft job={job} />
      </span>
    </span>
  );
}

function TimeLeft({ job }: { job: Job }) {
  const left = secondsLeft(job, useNow());
  return left === null ? null : <span>{duration(left)} left</span>;
}
