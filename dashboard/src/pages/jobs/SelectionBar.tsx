import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { type Cancelled, useCancelMany } from "@/api/cancelMany";
import { useMayWrite } from "@/api/session";
import { hasEnded, type Job } from "@/api/types";
import { MOST_COMPARED } from "@/lib/compareSearch";
import { integer } from "@/lib/format";
import { jobName } from "@/lib/jobFacts";
import { Modal } from "@/parts/Modal";
import { Notice } from "@/parts/Notice";

interface SelectionBarProps {
  jobs: readonly Job[];
  onClear: () => void;
}

/** What can be done with the ticked jobs together. */
export function SelectionBar({ jobs, onClear }: SelectionBarProps) {
  const mayWrite = useMayWrite();
  const [confirming, setConfirming] = useState(false);
  const cancel = useCancelMany();
  const open = jobs.filter((job) => !hasEnded(job));
  const close = () => {
    setConfirming(false);
    cancel.reset();
  };
  return (
    <div role="group" aria-label="Selected jobs" className="card flex flex-wrap items-center gap-2 border-accent px-3 py-1.5">
      <span role="status">{integer(jobs.length)} selected</span>
      <Compare jobs={jobs} />
      {mayWrite && (
        <button
          type="button"
          className="button button-danger"
          disabled={!open.length}
          onClick={() => setConfirming(true)}
        >
          Cancel {open.length || ""}
        </button>
      )}
      <button type="button" className="button ml-auto" onClick={onClear}>
        Clear
      </button>
      {confirming && (
        <Modal title={cancel.data ? "What came of it" : `Cancel ${jobsIn(open.length)}?`} onClose={close}>
          {cancel.data ? (
            <Results results={cancel.data} onClose={close} />
          ) : (
            <Confirm jobs={open} pending={cancel.isPending} onClose={close} onConfirm={() => cancel.mutate(open)} />
          )}
        </Modal>
      )}
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

interface ConfirmProps {
  jobs: readonly Job[];
  pending: boolean;
  onClose: () => void;
  onConfirm: () => void;
}

function Confirm({ jobs, pending, onClose, onConfirm }: ConfirmProps) {
  return (
    <>
      <p>They end at once and cannot go on. Their logs, curves and checkpoints stay.</p>
      <ul className="mt-2 list-disc pl-5">
        {jobs.map((job) => (
          <li key={job.id} className="break-all">
            {jobName(job)}
          </li>
        ))}
      </ul>
      <div className="mt-5 flex justify-end gap-2">
        <button type="button" className="button" onClick={onClose} disabled={pending}>
          Keep them
        </button>
        <button type="button" className="button button-danger" onClick={onConfirm} disabled={pending}>
          {pending ? "Cancelling…" : `Cancel ${jobsIn(jobs.length)}`}
        </button>
      </div>
    </>
  );
}

function Results({ results, onClose }: { results: readonly Cancelled[]; onClose: () => void }) {
  const refused = results.filter(({ failure }) => failure !== null);
  return (
    <>
      <Notice tone={refused.length ? "bad" : "plain"}>
        {integer(results.length - refused.length)} of {jobsIn(results.length)} cancelled
      </Notice>
      <ul className="mt-2 grid gap-1">
        {results.map(({ job, failure }) => (
          <li key={job.id} className="break-all">
            <strong>{jobName(job)}</strong>: {failure ?? "cancelled"}
          </li>
        ))}
      </ul>
      <div className="mt-5 flex justify-end">
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
      </div>
    </>
  );
}

function jobsIn(count: number): string {
  return count === 1 ? "1 job" : `${integer(count)} jobs`;
}
