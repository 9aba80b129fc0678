import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { jobQuery } from "@/api/jobs/jobs";
import { useLiveJob } from "@/api/live/useLiveJob";
import type { Job } from "@/api/types";
import { useTitle } from "@/lib/browser/useTitle";
import { jobName } from "@/lib/facts/jobFacts";
import { IsItBetter } from "@/parts/evals/IsItBetter";
import { DetailPage } from "@/parts/page/DetailPage";
import { Notice } from "@/parts/page/Notice";

import { Candidates } from "./Candidates";
import { Checkpoints } from "./Checkpoints";
import { EventLog } from "./EventLog";
import { JobCurves } from "./JobCurves";
import { JobError } from "./JobError";
import { JobFiles } from "./JobFiles";
import { JobHead } from "./JobHead";
import { JobSettings } from "./JobSettings";
import { Samples } from "./Samples";

const route = getRouteApi("/jobs/$jobId");

export function JobPage() {
  const { jobId } = route.useParams();
  return (
    <DetailPage
      kind="job"
      id={jobId}
      list={{ to: "/jobs", name: "Jobs" }}
      query={useQuery(jobQuery(jobId))}
      deleted={(job) => <Deleted job={job} />}
    >
      {(job) => <Details job={job} />}
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
  useTitle(`${jobName(job)} · ${job.status}`);
  return (
    <>
      <JobHead job={job} />
      {job.error && <JobError error={job.error} />}
      <IsItBetter jobId={job.id} job={job} hasSucceeded={job.status === "succeeded"} />
      <JobCurves job={job} live={live} />
      <Samples job={job} live={live} />
      <Candidates job={job} />
      <div className="grid items-start gap-4 xl:grid-cols-2">
        <div className="grid gap-4">
          <EventLog live={live} />
          <Checkpoints job={job} />
          <JobFiles job={job} />
        </div>
        <JobSettings job={job} />
      </div>
    </>
  );
}
