import { useNavigate } from "@tanstack/react-router";

import { type JobAction, useJobAction } from "@/api/jobs/jobs";
import type { Job } from "@/api/types";
import { jobName } from "@/lib/facts/jobFacts";

import { Confirm } from "./Confirm";

/** What cannot be undone. */
export type FinalAction = "cancel" | "delete";

export function isFinal(action: JobAction): action is FinalAction {
  return action === "cancel" || action === "delete";
}

interface ConfirmJobActionProps {
  job: Job;
  action: FinalAction;
  onClose: () => void;
}

/** Asks, and does it. Who has deleted the job is led to the others. */
export function ConfirmJobAction({ job, action, onClose }: ConfirmJobActionProps) {
  const doing = useJobAction(job.id);
  const navigate = useNavigate();
  const leave = () => {
    onClose();
    if (action === "delete") void navigate({ to: "/jobs" });
  };
  return (
    <Confirm
      title={action === "cancel" ? "Cancel this job?" : "Delete this job?"}
      action={action === "cancel" ? "Cancel job" : "Delete job"}
      doing={doing}
      onConfirm={() => doing.mutate(action, { onSuccess: leave })}
      onClose={onClose}
    >
      <p>
        <strong>{jobName(job)}</strong> {LOST[action]}
      </p>
      {action === "delete" && job.adapter_id !== null && <p className="text-muted">Its adapter and its model stay.</p>}
    </Confirm>
  );
}

const LOST: Record<FinalAction, string> = {
  cancel: "ends at once and cannot go on. Its log, curves and checkpoints stay.",
  delete: "is gone for good, with its log, curves and checkpoints. Its files stay.",
};
