import { useState } from "react";

import { MOST_COMPARED } from "@/lib/addresses/compareSearch";
import { jobName } from "@/lib/facts/jobFacts";
import { Finder } from "@/components/finder/Finder";
import { useFoundJobs } from "@/components/finder/useFoundJobs";

interface AddJobProps {
  chosen: readonly string[];
  onAdd: (id: string) => void;
}

export function AddJob(props: AddJobProps) {
  const [open, setOpen] = useState(false);
  const full = props.chosen.length >= MOST_COMPARED;
  return (
    <>
      <button type="button" className="button" disabled={full} onClick={() => setOpen(true)}>
        {full ? `At most ${MOST_COMPARED}` : "Add a job…"}
      </button>
      {open && <JobFinder {...props} onClose={() => setOpen(false)} />}
    </>
  );
}

function JobFinder({ chosen, onAdd, onClose }: AddJobProps & { onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const { jobs, ...state } = useFoundJobs(typed);
  const found = jobs
    .filter(({ id }) => !chosen.includes(id))
    .map((job) => ({ id: job.id, label: jobName(job), hint: job.status, run: () => onAdd(job.id) }));
  return (
    <Finder
      title="Add a job"
      label="Name, model, file, metadata"
      typed={typed}
      onType={setTyped}
      found={found}
      {...state}
      nothing={jobs.length ? "All jobs found are compared already." : undefined}
      onClose={onClose}
    />
  );
}
