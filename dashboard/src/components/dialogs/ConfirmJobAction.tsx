import { useNavigate } from "@tanstack/react-router";

import { type JobAction, useJobAction } from "@/api/jobs/jobs";
import { jobName } from "@/lib/facts/jobFacts";
import type { Job } from "@/types/api";

import { Confirm } from "./Confirm";

/** An action that cannot be undone. */
export type FinalAction = "cancel" | "delete";

export function isFinal(action: JobAction): action is FinalAction {
  return action === "cancel" || action === "delete";
}

interface ConfirmJobActionProps {
  job: Job;
  action: FinalAction;
  onClose: () => void;
}

/** Asks before a job is cancelled or deleted, and does it. A deletion leads to the list of jobs. */
export function ConfirmJobAction({ job, action, onClose }: ConfirmJobActionProps) {
  const mutation = useJobAction(job.id);
  const navigate = useNavigate();
  const leave = () => {
    onClose();
    if (action === "delete") void navigate({ to: "/jobs" });
  };
  return (
    <Confirm
      title={action === "cancel" ? "Cancel this job?" : "Delete this job?"}
      action={action === "cancel" ? "Cancel job" : "Delete job"}
      mutation={mutation}
      onConfirm={() => mutation.mutate(action, { onSuccess: leave })}
      onClose={onClose}
    >
      <p>
        <strong>{jobName(job)}</strong> {CONSEQUENCES[action]}
      </p>
      {action === "delete" && job.adapter_id !== null && <p className="text-muted">Its adapter and its model stay.</p>}
    </Confirm>
  );
}

const CONSEQUENCES: Record<FinalAction, string> = {
  cancel: "ends at once and cannot be resumed. Its log, curves and checkpoints stay.",
  delete: "will be deleted for good, with its log, curves and checkpoints. Its files stay.",
};
