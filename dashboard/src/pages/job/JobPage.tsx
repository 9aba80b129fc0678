import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { isNotFound } from "@/api/failures";
import { jobQuery } from "@/api/jobs/jobs";
import type { Job } from "@/api/types";
import { useLiveJob } from "@/api/live/useLiveJob";
import { jobName } from "@/lib/facts/jobFacts";
import { useTitle } from "@/lib/browser/useTitle";
import { Gone } from "@/parts/page/Gone";
import { Failure, Notice } from "@/parts/page/Notice";
import { Reading } from "@/parts/page/Reading";

import { Candidates } from "./Candidates";
import { Checkpoints } from "./Checkpoints";
import { Curves } from "./JobCurves";
import { EventLog } from "./EventLog";
import { Files } from "./JobFiles";
import { JobError } from "./JobError";
import { JobHead } from "./JobHead";
import { Samples } from "./Samples";
import { Settings } from "./JobSettings";

const route = getRouteApi("/jobs/$jobId");

export function JobPage() {
  const { jobId } = route.useParams();
  const { data: job, error, failureReason } = useQuery(jobQuery(jobId));
  if (isNotFound(error)) return job ? <Deleted job={job} /> : <Gone what="job" id={jobId} to="/jobs" all="All jobs" />;
  return (
    <>
      {(error ?? failureReason) && <Failure error={error ?? failureReason} />}
      {job ? <Details key={job.id} job={job} /> : !failureReason && <Reading />}
    </>
  );
}

/** In the place of a job that somebody has deleted while it was looked at. */
function Deleted({ job }: { job: Job }) {
  useTitle(`${jobName(job)} · deleted`);
  return (
    <Notice>
      <p>
        The job <strong className="break-all">{jobName(job)}</strong> was deleted meanwhile.
        {job.adapter_id !== null && " Its adapter is not deleted with it."}
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
  useTitle(`${jobName(job)} · ${job.status}`);
  return (
    <>
      <JobHead job={job} />
      {job.error && <JobError error={job.error} />}
      <Curves job={job} live={live} />
      <Samples job={job} live={live} />
      <Candidates job={job} />
      <div className="grid items-start gap-4 xl:grid-cols-2">
        <div className="grid gap-4">
          <EventLog live={live} />
          <Checkpoints job={job} />
          <Files job={job} />
        </div>
        <Settings job={job} />
      </div>
    </>
  );
}
