import { useQuery } from "@tanstack/react-query";

import { jobsOfFileQuery, useDeleteFile } from "@/api/files/files";
import { type FileObject, hasEnded } from "@/api/types";
import { jobName } from "@/lib/facts/jobFacts";
import { Confirm } from "@/parts/dialogs/Confirm";

interface DeleteFileProps {
  file: FileObject;
  onDeleted: () => void;
  onClose: () => void;
}

export function DeleteFile({ file, onDeleted, onClose }: DeleteFileProps) {
  const { data } = useQuery(jobsOfFileQuery(file.id));
  const deleting = useDeleteFile();
  const reading = data?.data.find((job) => !hasEnded(job));
  return (
    <Confirm
      title={reading ? "This file is in use" : "Delete this file?"}
      action="Delete file"
      doing={{ isPending: deleting.isPending || !data, error: deleting.error }}
      refusal={reading && `Job ${jobName(reading)} still reads it. Cancel that job, or wait for its end; then delete it.`}
      onConfirm={() => deleting.mutate(file.id, { onSuccess: onDeleted })}
      onClose={onClose}
    >
      {!reading && (
        <>
          <p>
            <strong>{file.filename}</strong> is gone for good.
          </p>
          <p className="text-muted">{data ? usedBy(data.data.length, data.has_more) : "Looking which jobs use it…"}</p>
        </>
      )}
    </Confirm>
  );
}

function usedBy(count: number, more: boolean): string {
  if (!count) return "No job uses it.";
  const jobs = more ? `More than ${count} jobs` : count === 1 ? "1 job" : `${count} jobs`;
  return `${jobs} used it. What they have learnt and their records stay; they cannot be created anew from it.`;
}
