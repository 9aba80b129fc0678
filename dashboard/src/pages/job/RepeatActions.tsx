import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { useCreateJob } from "@/api/jobs/createJob";
import type { Job } from "@/api/types";
import { newKey } from "@/lib/newJob/draftStore";
import { isResolved, sameRequest } from "@/lib/newJob/sameRequest";
import { Failure } from "@/parts/page/Notice";

/** A new job with this one's settings: to change first, or, after one that was in vain, at once. */
export function AgainActions({ job }: { job: Job }) {
  const wasInVain = job.status === "failed" || job.status === "cancelled";
  return (
    <>
      <Link to="/new" search={{ from: job.id }} className="button">
        Clone
      </Link>
      {wasInVain && isResolved(job) && <Retry job={job} />}
    </>
  );
}

function Retry({ job }: { job: Job }) {
  const navigate = useNavigate();
  const [key] = useState(newKey); // however often it is pressed
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
