import { Link } from "@tanstack/react-router";

import type { Sort } from "@/lib/addresses/jobSearch";
import { jobName, methodName } from "@/lib/facts/jobFacts";
import { integer } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { CutName } from "@/components/basics/CutName";
import { StatusMark } from "@/components/basics/StatusMark";
import { FileName } from "@/components/files/FileName";
import type { Column } from "@/components/tables/columns";
import type { Job } from "@/types/api";

import { BestLoss } from "./BestLoss";
import { JobProgress } from "./JobProgress";
import { Sparkline } from "./Sparkline";

/** A phone shows status, name and best loss. The line below the name holds the most important of the other values. */
export const JOB_COLUMNS: readonly Column<Job, Sort>[] = [
  {
    name: "Status",
    sort: "status",
    width: "w-30 md:w-33",
    cell: (job) => <StatusMark status={job.status} />,
  },
  {
    name: "Name",
    sort: "name",
    className: "overflow-hidden max-md:py-0",
    cell: (job) => (
      <Link
        to="/jobs/$jobId"
        params={{ jobId: job.id }}
        className="block font-medium after:absolute after:inset-0"
      >
        <CutName name={jobName(job)} />
      </Link>
    ),
    below: (job) => (
      <>
        {methodName(job)} · {job.progress.percent ?? 0} % · <Ago unix={job.created_at} />
      </>
    ),
  },
  {
    name: "Base model",
    sort: "model",
    shownFrom: "lg",
    width: "w-48",
    cell: (job) => <CutName name={job.model} />,
  },
  { name: "Method", sort: "method", shownFrom: "md", width: "w-32", className: "truncate", cell: methodName },
  {
    name: "Training file",
    shownFrom: "xl",
    width: "w-44",
    className: "truncate",
    cell: (job) => <FileName id={job.training_file} />,
  },
  {
    name: "Progress",
    sort: "progress",
    shownFrom: "md",
    width: "w-52",
    cell: (job) => <JobProgress job={job} />,
  },
  {
    name: "Tokens/s",
    align: "right",
    shownFrom: "88rem",
    width: "w-22",
    cell: (job) => integer(job.progress.tokens_per_second),
  },
  { name: "Loss", shownFrom: "lg", width: "w-28", cell: (job) => <Sparkline job={job} /> },
  {
    name: "Best val. loss",
    sort: "best",
    align: "right",
    width: "w-20 md:w-28",
    cell: (job) => <BestLoss job={job} />,
  },
  {
    name: "Created",
    sort: "created",
    align: "right",
    shownFrom: "md",
    width: "w-32",
    className: "whitespace-nowrap",
    cell: (job) => <Ago unix={job.created_at} />,
  },
];
