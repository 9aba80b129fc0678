import { adapterContentPath } from "@/api/project/adapters";
import { hasEnded, type Job } from "@/api/types";
import { useNow } from "@/lib/browser/useNow";
import { jobName, methodName, secondsLeft } from "@/lib/facts/jobFacts";
import { type Phase, phasesOf } from "@/lib/facts/phases";
import { dateTime, duration, integer, significant } from "@/lib/text/format";
import { ProgressBar } from "@/parts/basics/ProgressBar";
import { StatusMark } from "@/parts/basics/StatusMark";
import { FileName } from "@/parts/files/FileName";
import { DetailHead } from "@/parts/page/DetailHead";

import { JobActions } from "./JobActions";

export function JobHead({ job }: { job: Job }) {
  return (
    <DetailHead
      list={{ to: "/jobs", name: "Jobs" }}
      title={jobName(job)}
      mark={
        <span aria-live="polite">
          <StatusMark status={job.status} />
        </span>
      }
      download={
        job.adapter_id ? { href: adapterContentPath(job.adapter_id), label: "Adapter", isPrimary: true } : undefined
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
        <ProgressFacts job={job} />
      </div>
    </DetailHead>
  );
}

const PHASE_CLASSES = { done: "border-line", current: "border-accent", ahead: "border-line border-dashed text-muted" };

function PhaseStep({ phase, job }: { phase: Phase; job: Job }) {
  const now = useNow();
  const { label, state, from, to } = phase;
  const place = job.progress.queue_position;
  return (
    <li aria-current={state === "current" ? "step" : undefined} className={`border-t-2 pt-2 ${PHASE_CLASSES[state]}`}>
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

function ProgressFacts({ job }: { job: Job }) {
  const { step, total_steps, epoch, tokens_per_second } = job.progress;
  const left = secondsLeft(job, useNow());
  const facts: [string, string | null][] = [
    ["Step", `${integer(step)} / ${integer(total_steps)}`],
    ["Epoch", `${epoch.toFixed(2)} / ${job.hyperparameters.n_epochs}`],
    ["Trained tokens", integer(job.trained_tokens)],
    ["Tokens per second", tokens_per_second === null ? null : significant(tokens_per_second)],
    ["Time left", left === null ? null : duration(left)],
  ];
  return (
    <dl className="flex flex-wrap gap-x-8 gap-y-2">
      {facts.map(
        ([name, value]) =>
          value !== null && (
            <div key={name}>
              <dt className="fact">{name}</dt>
              <dd className="font-medium">{value}</dd>
            </div>
          ),
      )}
    </dl>
  );
}
