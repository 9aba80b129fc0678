import { useQuery, useQueryClient } from "@tanstack/react-query";

import { jobListQuery } from "@/api/jobs";
import { MOST_COMPARED } from "@/lib/compareSearch";
import { jobName } from "@/lib/jobFacts";

const MOST_OPTIONS = 200; // newest first; others are selected in the list of jobs

export function AddJob({ chosen, onAdd }: { chosen: readonly string[]; onAdd: (id: string) => void }) {
  const { data } = useQuery(jobListQuery(useQueryClient()));
  const options = (data?.jobs ?? []).filter(({ id }) => !chosen.includes(id)).slice(0, MOST_OPTIONS);
  return (
    <select
      aria-label="Add a job"
      className="field w-60"
      value=""
      disabled={!options.length || chosen.length >= MOST_COMPARED}
      onChange={(event) => onAdd(event.target.value)}
    >
      <option value="">{chosen.length >= MOST_COMPARED ? `${MOST_COMPARED} at most` : "Add a job…"}</option>
      {options.map((job) => (
        <option key={job.id} value={job.id}>
          {jobName(job)} · {job.status}
        </option>
      ))}
    </select>
  );
}
