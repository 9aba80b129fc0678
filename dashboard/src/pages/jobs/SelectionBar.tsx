import { Link } from "@tanstack/react-router";

import type { ManyAction } from "@/api/jobs/manyJobs";
import { useMayWrite } from "@/api/project/session";
import { MOST_COMPARED } from "@/lib/addresses/compareSearch";
import { hasEnded } from "@/lib/facts/jobFacts";
import { integer } from "@/lib/text/format";
import type { Job } from "@/types/api";

interface SelectionBarProps {
  jobs: readonly Job[];
  onAct: (action: ManyAction, jobs: readonly Job[]) => void;
  onClear: () => void;
}

/** The actions on all selected jobs together. */
export function SelectionBar({ jobs, onAct, onClear }: SelectionBarProps) {
  const mayWrite = useMayWrite();
  const open = jobs.filter((job) => !hasEnded(job));
  return (
    <div role="group" aria-label="Selected jobs" className="card flex flex-wrap items-center gap-2 border-accent px-3 py-1.5">
      <span role="status">{integer(jobs.length)} selected</span>
      <Compare jobs={jobs} />
      {mayWrite && (
        <>
          <button
            type="button"
            className="button button-danger"
            disabled={!open.length}
            onClick={() => onAct("cancel", open)}
          >
            Cancel {open.length || ""}
          </button>
          <button type="button" className="button button-danger" onClick={() => onAct("delete", jobs)}>
            Delete {integer(jobs.length)}
          </button>
        </>
      )}
      <button type="button" className="button ml-auto" onClick={onClear}>
        Clear
      </button>
    </div>
  );
}

function Compare({ jobs }: { jobs: readonly Job[] }) {
  if (jobs.length > MOST_COMPARED) return <span className="fact">Up to {MOST_COMPARED} can be compared</span>;
  return (
    <Link to="/compare" search={{ jobs: jobs.map(({ id }) => id).join() }} className="button button-primary">
      Compare
    </Link>
  );
}
