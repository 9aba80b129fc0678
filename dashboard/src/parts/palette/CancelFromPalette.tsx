import { useJobAction } from "@/api/jobs";
import type { Job } from "@/api/types";
import { jobName } from "@/lib/jobFacts";
import { ConfirmCancel } from "@/parts/ConfirmCancel";
import { Failure } from "@/parts/Notice";

export function CancelFromPalette({ job, onClose }: { job: Job; onClose: () => void }) {
  const { mutate, error } = useJobAction(job.id);
  return (
    <ConfirmCancel name={jobName(job)} onClose={onClose} onConfirm={() => mutate("cancel", { onSuccess: onClose })}>
      {error && <Failure error={error} />}
    </ConfirmCancel>
  );
}
