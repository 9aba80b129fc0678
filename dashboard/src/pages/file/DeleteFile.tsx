import { useQuery } from "@tanstack/react-query";

import { jobsOfFileQuery, useDeleteFile } from "@/api/files/files";
import { hasEnded, jobName } from "@/lib/facts/jobFacts";
import { counted } from "@/lib/text/format";
import { Confirm } from "@/components/dialogs/Confirm";
import type { FileObject } from "@/types/api";

interface DeleteFileProps {
  file: FileObject;
  onDeleted: () => void;
  onClose: () => void;
}

/** Asks before a file is deleted, and says which jobs use it. A file that a job still reads is not deleted. */
export function DeleteFile({ file, onDeleted, onClose }: DeleteFileProps) {
  const { data } = useQuery(jobsOfFileQuery(file.id));
  const deleting = useDeleteFile();
  const reading = data?.data.find((job) => !hasEnded(job));
  return (
    <Confirm
      title={reading ? "This file is in use" : "Delete this file?"}
      action="Delete file"
      mutation={{ isPending: deleting.isPending || !data, error: deleting.error }}
      refusal={reading && `Job ${jobName(reading)} still reads this file. Cancel the job or wait until it ends.`}
      onConfirm={() => deleting.mutate(file.id, { onSuccess: onDeleted })}
      onClose={onClose}
    >
      {!reading && (
        <>
          <p>
            <strong>{file.filename}</strong> will be deleted for good.
          </p>
          <p className="text-muted">{data ? usedBy(data.data.length, data.has_more) : "Checking which jobs use it…"}</p>
        </>
      )}
    </Confirm>
  );
}

function usedBy(count: number, hasMore: boolean): string {
  if (!count) return "No job uses it.";
  const jobs = counted(count, "job");
  return `${hasMore ? `More than ${jobs}` : jobs} used it. Their results and records stay, but the jobs cannot be created again.`;
}
