import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { judgedQuery } from "@/api/evals/judged";
import { jobQuery } from "@/api/jobs/jobs";
import { samplesQuery } from "@/api/jobs/samples";
import type { LiveJob } from "@/api/live/liveJob";
import { useLiveJob } from "@/api/live/useLiveJob";
import { isSettled } from "@/api/settled";
import { useVersion } from "@/lib/browser/changing";
import { useTitle } from "@/lib/browser/useTitle";
import { jobName } from "@/lib/facts/jobFacts";
import { type Evaluation, samplesOf } from "@/lib/facts/samples";
import { IsItBetter } from "@/components/evals/IsItBetter";
import { DetailPage } from "@/components/page/DetailPage";
import { Notice } from "@/components/page/Notice";
import { Reading } from "@/components/page/Reading";
import type { Job } from "@/types/api";

import { Candidates } from "./Candidates";
import { Checkpoints } from "./Checkpoints";
import { DataCheck } from "./rows/DataCheck";
import { EventLog } from "./EventLog";
import { JobCurves } from "./JobCurves";
import { JobError } from "./JobError";
import { JobFiles } from "./JobFiles";
import { JobHead } from "./JobHead";
import { JobSettings } from "./JobSettings";
import { Answers } from "./result/Answers";
import { Result } from "./result/Result";
import { RowLosses } from "./rows/RowLosses";

const route = getRouteApi("/jobs/$jobId");

export function JobPage() {
  const { jobId } = route.useParams();
  return (
    <DetailPage
      kind="job"
      id={jobId}
      list={{ to: "/jobs", name: "Jobs" }}
      query={useQuery(jobQuery(jobId, true))}
      deleted={(job) => <Deleted job={job} />}
    >
      {(job) => <Details key={job.id} job={job} />}
    </DetailPage>
  );
}

/** Shown when somebody deletes the job while its page is open. */
function Deleted({ job }: { job: Job }) {
  useTitle(`${jobName(job)} · deleted`);
  return (
    <Notice>
      <p>
        The job <strong className="break-all">{jobName(job)}</strong> was deleted meanwhile.
        {job.adapter_id !== null && " Its adapter was not deleted."}
      </p>
      <p className="flex gap-4">
        <Link to="/jobs" className="link">
          All jobs
        </Link>
        {job.adapter_id !== null && (
          <Link to="/adapters/$adapterId" params={{ adapterId: job.adapter_id }} className="link">
            Its adapter
          </Link>
        )}
      </p>
    </Notice>
  );
}

function Details({ job }: { job: Job }) {
  const live = useLiveJob(job.id);
  useVersion(live);
  useTitle(`${jobName(job)} · ${job.status}`);
  const samples = useQuery(samplesQuery(job));
  const { data } = samples;
  const { events } = live.log;
  const evaluations = useMemo(() => samplesOf([...(data ?? []), ...events]), [data, events]);
  const hasSucceeded = job.status === "succeeded";
  const evals = useQuery({ ...judgedQuery({ job_id: job.id }), enabled: hasSucceeded });
  // What stands below is shown at once, so that nothing moves while it is read, and then stays.
  const [wasRead, setWasRead] = useState(false);
  const isRead = wasRead || (live.isRead && isSettled(samples) && isSettled(evals));
  if (isRead && !wasRead) setWasRead(true);
  return (
    <>
      <JobHead job={job} events={isRead ? events : null} lastStep={live.series.lastStep} />
      {isRead && job.error && <JobError error={job.error} />}
      {isRead ? <Sections {...{ job, live, evaluations, hasSucceeded }} failure={samples.failureReason} /> : <Reading />}
    </>
  );
}

interface SectionsProps {
  job: Job;
  live: LiveJob;
  evaluations: readonly Evaluation[];
  failure: Error | null;
  hasSucceeded: boolean;
}

function Sections({ job, live, evaluations, failure, hasSucceeded }: SectionsProps) {
  return (
    <>
      {hasSucceeded && <Result job={job} series={live.series} evaluations={evaluations} />}
      <Answers job={job} evaluations={evaluations} failure={failure} />
      <IsItBetter job={job} />
      <JobCurves job={job} live={live} />
      <Candidates job={job} />
      <RowLosses job={job} />
      <div className="grid items-start gap-4 xl:grid-cols-2">
        <div className="grid gap-4">
          <DataCheck job={job} />
          <EventLog live={live} />
          <Checkpoints job={job} />
          <JobFiles job={job} />
        </div>
        <JobSettings job={job} />
      </div>
    </>
  );
}
