import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { useCreateJob } from "@/api/jobs/createJob";
import { newIdempotencyKey } from "@/lib/browser/idempotencyKey";
import { isResolved, sameRequest } from "@/lib/newJob/sameRequest";
import { Failure } from "@/components/page/Notice";
import type { Job } from "@/types/api";

/**
 * Buttons for a new job with the settings of this job. Clone opens the form with them. Retry creates the new job at once;
 * only a job that failed or was cancelled has this button.
 */
export function RepeatActions({ job }: { job: Job }) {
  const hasNoResult = job.status === "failed" || job.status === "cancelled";
  return (
    <>
      <Link to="/new" search={{ from: job.id }} className="button">
        Clone
      </Link>
      {hasNoResult && isResolved(job) && <Retry job={job} />}
    </>
  );
}

function Retry({ job }: { job: Job }) {
  const navigate = useNavigate();
  const [key] = useState(newIdempotencyKey); // one key, so that several clicks make one job
  const create = useCreateJob((jobId) => void navigate({ to: "/jobs/$jobId", params: { jobId } }));
  return (
    <>
      <button
        type="button"
        className="button"
        title="Creates the same job again, with the same seed"
        disabled={create.isPending}
        onClick={() => create.mutate({ request: sameRequest(job), key })}
      >
        Retry
      </button>
      {create.error && <Failure asked error={create.error} />}
    </>
  );
}
