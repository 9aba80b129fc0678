import { adapterContentPath } from "@/api/project/adapters";
import { useNow } from "@/lib/browser/useNow";
import { hasEnded, jobName, methodName, secondsLeft, stepsPerEpoch } from "@/lib/facts/jobFacts";
import { type Phase, phasesOf } from "@/lib/facts/phases";
import { dateTime, duration, integer, significant } from "@/lib/text/format";
import { ProgressBar } from "@/components/basics/ProgressBar";
import { StatusMark } from "@/components/basics/StatusMark";
import { FileName } from "@/components/files/FileName";
import { DetailHead } from "@/components/page/DetailHead";
import type { Job, JobEvent } from "@/types/api";

import { JobActions } from "./JobActions";

interface JobHeadProps {
  job: Job;
  /** The log; null while it is being read. The phases follow from it, so they wait until then. */
  events: readonly JobEvent[] | null;
  /** The newest step of the log, which the job itself names later. */
  lastStep: number;
}

export function JobHead({ job, events, lastStep }: JobHeadProps) {
  const step = Math.max(job.progress.step, lastStep);
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
      {events && (
        <div className="card grid gap-3 p-4">
          <ol className="grid gap-3 sm:auto-cols-fr sm:grid-flow-col">
            {phasesOf(job, events).map((phase) => (
              <PhaseStep key={phase.label} phase={phase} job={job} />
            ))}
          </ol>
          {!hasEnded(job) && job.progress.total_steps !== null && (
            <ProgressBar percent={(100 * step) / job.progress.total_steps} label="Progress of the job" />
          )}
          <ProgressFacts job={job} step={step} />
        </div>
      )}
    </DetailHead>
  );
}

const PHASE_CLASSES = { done: "border-line", current: "border-accent", ahead: "border-line border-dashed text-muted" };

function PhaseStep({ phase, job }: { phase: Phase; job: Job }) {
  const now = useNow();
  const { label, state, from, to, marks } = phase;
  const position = job.progress.queue_position;
  return (
    <li aria-current={state === "current" ? "step" : undefined} className={`border-t-2 pt-2 ${PHASE_CLASSES[state]}`}>
      <span className="font-medium first-letter:uppercase inline-block">{label}</span>
      {state === "current" && label === "queued" && position !== null && <span> · position {position} in the queue</span>}
      <span className="fact block">
        {from === null ? "not yet" : dateTime(from)}
        {from !== null && to !== null && ` · ${duration(to - from)}`}
        {from !== null && to === null && !hasEnded(job) && ` · for ${duration(now - from)}`}
      </span>
      {marks && from !== null && <Marks marks={marks} from={from} isOver={state === "done"} />}
    </li>
  );
}

/** What happens in a phase, and how many seconds after its beginning each was done. */
function Marks({ marks, from, isOver }: { marks: NonNullable<Phase["marks"]>; from: number; isOver: boolean }) {
  const next = isOver ? -1 : marks.findIndex(({ at }) => at === null);
  return (
    <ul className="fact mt-1">
      {marks.map(({ label, doing, at }, number) => (
        <li key={label} className={number === next ? "font-medium text-ink" : ""}>
          {number === next ? `${doing}…` : label}
          {at !== null && ` · after ${duration(at - from)}`}
        </li>
      ))}
    </ul>
  );
}

function ProgressFacts({ job, step }: { job: Job; step: number }) {
  const { total_steps, tokens_per_second } = job.progress;
  const perEpoch = stepsPerEpoch(job);
  const epoch = perEpoch === null ? job.progress.epoch : step / perEpoch;
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
