import { useState } from "react";

import { adapterContentPath } from "@/api/details";
import { actionsOn, type JobAction, useJobAction } from "@/api/jobs/jobs";
import { useMayWrite } from "@/api/project/session";
import type { Job } from "@/api/types";
import { ConfirmJobAction, type FinalAction, isFinal } from "@/parts/dialogs/ConfirmJobAction";
import { Icon } from "@/parts/basics/Icon";
import { Failure } from "@/parts/page/Notice";

import { AgainActions } from "./RepeatActions";

const WORDS: Record<JobAction, string> = {
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel job",
  delete: "Delete",
};

export function JobActions({ job }: { job: Job }) {
  const mayWrite = useMayWrite();
  const action = useJobAction(job.id);
  const [confirming, setConfirming] = useState<FinalAction | null>(null);
  const act = (wanted: JobAction) => (isFinal(wanted) ? setConfirming(wanted) : action.mutate(wanted));
  return (
    <>
      {job.adapter_id && (
        <a href={adapterContentPath(job.adapter_id)} download className="button button-primary">
          <Icon name="download" />
          Adapter
        </a>
      )}
      {mayWrite && <AgainActions key={job.id} job={job} />}
      {mayWrite &&
        actionsOn(job).map((wanted) => (
          <button
            key={wanted}
            type="button"
            className={`button ${isFinal(wanted) ? "button-danger" : ""}`}
            disabled={action.isPending}
            onClick={() => act(wanted)}
          >
            {WORDS[wanted]}
          </button>
        ))}
      {action.error && <Failure asked error={action.error} />}
      {confirming && <ConfirmJobAction job={job} action={confirming} onClose={() => setConfirming(null)} />}
    </>
  );
}
