import { hasEnded, type Job } from "@/api/types";
import { useNow } from "@/lib/browser/useNow";
import { dateTime, duration, integer, significant } from "@/lib/text/format";
import { jobName, methodName, secondsLeft } from "@/lib/facts/jobFacts";
import { type Phase, phasesOf } from "@/lib/facts/phases";
import { FileName } from "@/parts/files/FileName";
import { PageHead } from "@/parts/page/DetailHead";
import { ProgressBar } from "@/parts/basics/ProgressBar";
import { StatusMark } from "@/parts/basics/StatusMark";

import { JobActions } from "./JobActions";

export function JobHead({ job }: { job: Job }) {
  return (
    <PageHead
      to="/jobs"
      list="Jobs"
      title={jobName(job)}
      mark={
        <span aria-live="polite">
          <StatusMark status={job.status} />
        </span>
      }
      actions={<JobActions job={job} />}
    >
      <p className="flex flex-wrap gap-x-4 gap-y-1 text-muted">
        <span className="font-mono text-xs break-all">{job.id}</span>
        <span>{job.model}</span>
        <span>{methodName(job)}</span>
        <FileName id={job.training_file} />
      </p>
      <div className="card grid gap-3 p-4">
        <ol className="grid gap-3 sm:auto-cols-fr sm:grid-flow-col">
          {phasesOf(job).map((phase) => (
            <PhaseStep key={phase.label} phase={phase} job={job} />
          ))}
        </ol>
        {!hasEnded(job) && job.progress.total_steps !== null && (
          <ProgressBar percent={job.progress.percent ?? 0} label="Progress of the job" />
        )}
        <Facts job={job} />
      </div>
    </PageHead>
  );
}

const MARKS = { done: "border-line", current: "border-accent", ahead: "border-line border-dashed text-muted" };

function PhaseStep({ phase, job }: { phase: Phase; job: Job }) {
  const now = useNow();
  const { label, state, from, to } = phase;
  const place = job.progress.queue_position;
  return (
    <li aria-current={state === "current" ? "step" : undefined} className={`border-t-2 pt-2 ${MARKS[state]}`}>
      <span className="font-medium first-letter:uppercase inline-block">{label}</span>
      {state === "current" && label === "queued" && place !== null && <span> · place {place} in the queue</span>}
      <span className="fact block">
        {from === null ? "not yet" : dateTime(from)}
        {from !== null && to !== null && ` · ${duration(to - from)}`}
        {from !== null && to === null && !hasEnded(job) && ` · for ${duration(now - from)}`}
      </span>
    </li>
  );
}

function Facts({ job }: { job: Job }) {
  const { progress } = job;
  const left = secondsLeft(job, useNow());
  const facts: [string, string][] = [
    ["Step", `${integer(progress.step)} / ${integer(progress.total_steps)}`],
    ["Epoch", `${progress.epoch.toFixed(2)} / ${job.hyperparameters.n_epochs}`],
    ["Trained tokens", integer(job.trained_tokens)],
    ...(progress.tokens_per_second === null
      ? []
      : [["Tokens per second", significant(progress.tokens_per_second)] as [string, string]]),
    ...(left === null ? [] : [["Time left", duration(left)] as [string, string]]),
  ];
  return (
    <dl className="flex flex-wrap gap-x-8 gap-y-2">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt className="fact">{name}</dt>
          <dd className="font-medium">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
