import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { actionsOn, type JobAction, useJobAction } from "@/api/jobs/jobs";
import { ConfirmJobAction, type FinalAction, isFinal } from "@/components/dialogs/ConfirmJobAction";
import { Failure } from "@/components/page/Notice";
import type { Job } from "@/types/api";

import { RepeatActions } from "./RepeatActions";

const LABELS: Record<JobAction, string> = {
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel job",
  delete: "Delete",
};

export function JobActions({ job }: { job: Job }) {
  const action = useJobAction(job.id);
  const [confirming, setConfirming] = useState<FinalAction | null>(null);
  const act = (wanted: JobAction) => (isFinal(wanted) ? setConfirming(wanted) : action.mutate(wanted));
  return (
    <>
      {job.fine_tuned_model !== null && (
        <Link to="/playground" search={{ models: `${job.model},${job.fine_tuned_model}`, job: job.id }} className="button">
          Try it
        </Link>
      )}
      <RepeatActions key={job.id} job={job} />
      {actionsOn(job).map((wanted) => (
        <button
          key={wanted}
          type="button"
          className={`button ${isFinal(wanted) ? "button-danger" : ""}`}
          disabled={action.isPending}
          onClick={() => act(wanted)}
        >
          {LABELS[wanted]}
        </button>
      ))}
      {action.error && <Failure asked error={action.error} />}
      {confirming && <ConfirmJobAction job={job} action={confirming} onClose={() => setConfirming(null)} />}
    </>
  );
}
