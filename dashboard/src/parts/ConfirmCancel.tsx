import { useJobAction } from "@/api/jobs";
import type { Job } from "@/api/types";
import { jobName } from "@/lib/jobFacts";

import { Confirm } from "./Confirm";

/** Asks, and cancels the job. */
export function ConfirmCancel({ job, onClose }: { job: Job; onClose: () => void }) {
  const cancel = useJobAction(job.id);
  return (
    <Confirm
      title="Cancel this job?"
      action="Cancel job"
      doing={cancel}
      onConfirm={() => cancel.mutate("cancel", { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        <strong>{jobName(job)}</strong> ends at once and cannot go on. Its log, curves and checkpoints stay.
      </p>
    </Confirm>
  );
}
