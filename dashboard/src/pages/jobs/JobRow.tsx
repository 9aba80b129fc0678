import { Link } from "@tanstack/react-router";
import { memo, useEffect, useRef } from "react";

import { hasEnded, type Job } from "@/api/types";
import { useNow } from "@/lib/browser/useNow";
import { duration, integer } from "@/lib/text/format";
import { jobName, methodName, secondsLeft } from "@/lib/facts/jobFacts";
import { Ago } from "@/parts/basics/Ago";
import { FileName } from "@/parts/files/FileName";
import { ProgressBar } from "@/parts/basics/ProgressBar";
import { StatusMark } from "@/parts/basics/StatusMark";

import { BestLoss } from "./BestLoss";
import { COLUMNS, TICK } from "./jobColumns";
import { Sparkline } from "./Sparkline";

export const ROW_HEIGHT = 44; // pixels, of every row: the table counts on it

interface JobRowProps {
  job: Job;
  place: number;
  active: boolean;
  selected: boolean;
  onToggle: (id: string) => void;
}

/** Drawn again only when its own job has changed. */
export const JobRow = memo(function JobRow({ job, place, active, selected, onToggle }: JobRowProps) {
  const link = useRef<HTMLAnchorElement>(null);
  useEffect(() => {
    if (active) link.current?.focus({ preventScroll: true });
  }, [active]);
  return (
    <tr
      aria-rowindex={place + 2}
      style={{ height: ROW_HEIGHT }}
      className={`relative ${selected ? "bg-tint" : ""} hover:bg-sunken focus-within:bg-tint`}
    >
      <td className={TICK}>
        <label className="absolute inset-y-0 left-0 z-1 grid w-9 cursor-pointer place-items-center">
          <input type="checkbox" checked={selected} onChange={() => onToggle(job.id)} />
          <span className="sr-only">Select {jobName(job)}</span>
        </label>
      </td>
      <td className={COLUMNS.status.className}>
        <StatusMark status={job.status} />
      </td>
      <td className="overflow-hidden max-md:py-0">
        <Link
          ref={link}
          to="/jobs/$jobId"
          params={{ jobId: job.id }}
          className="block truncate font-medium after:absolute after:inset-0"
        >
          {jobName(job)}
        </Link>
        <span className="fact block truncate md:hidden">
          {methodName(job)} · {job.progress.percent ?? 0} % · <Ago unix={job.created_at} />
        </span>
      </td>
      <td className={`${COLUMNS.model.className} truncate`}>{job.model}</td>
      <td className={`${COLUMNS.method.className} truncate`}>{methodName(job)}</td>
      <td className={`${COLUMNS.data.className} truncate`}>
        <FileName id={job.training_file} />
      </td>
      <td className={COLUMNS.progress.className}>
        <Progress job={job} />
      </td>
      <td className={COLUMNS.rate.className}>{integer(job.progress.tokens_per_second)}</td>
      <td className={COLUMNS.curve.className}>
        <Sparkline job={job} />
      </td>
      <td className={COLUMNS.loss.className}>
        <BestLoss job={job} />
      </td>
      <td className={`${COLUMNS.created.className} whitespace-nowrap`}>
        <Ago unix={job.created_at} />
      </td>
    </tr>
  );
});

function Progress({ job }: { job: Job }) {
  const { percent, step, total_steps, queue_position } = job.progress;
  if (job.status === "queued" && !step) {
    return <span className="text-muted">{queue_position ? `${queue_position}. in the queue` : "waiting"}</span>;
  }
  if (hasEnded(job)) return <span className="text-muted">{integer(step)} steps</span>;
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
