import { type ManyAction, type Outcome, useManyJobs } from "@/api/jobs/manyJobs";
import { hasEnded, jobName } from "@/lib/facts/jobFacts";
import { counted, integer } from "@/lib/text/format";
import { Confirm } from "@/components/dialogs/Confirm";
import { Modal } from "@/components/dialogs/Modal";
import { Notice } from "@/components/page/Notice";
import type { Job } from "@/types/api";

interface ManyJobsDialogProps {
  /** The jobs as they were when the dialog opened: a deleted job is no longer in the list. */
  jobs: readonly Job[];
  action: ManyAction;
  onClose: () => void;
}

const WORDS = {
  cancel: { verb: "Cancel", doing: "Cancelling…", done: "cancelled" },
  delete: { verb: "Delete", doing: "Deleting…", done: "deleted" },
} as const;

/** Asks before several jobs are cancelled or deleted, does it, and shows the outcome for each job. */
export function ManyJobsDialog({ jobs, action, onClose }: ManyJobsDialogProps) {
  const mutation = useManyJobs(action);
  const { verb, doing, done } = WORDS[action];
  if (mutation.data) return <Outcomes outcomes={mutation.data} done={done} onClose={onClose} />;
  const question = `${verb} ${counted(jobs.length, "job")}`;
  return (
    <Confirm
      title={`${question}?`}
      action={mutation.isPending ? doing : question}
      keep="Keep them"
      mutation={mutation}
      staysWhilePending
      onConfirm={() => mutation.mutate(jobs)}
      onClose={onClose}
    >
      {action === "cancel" ? (
        <p>They end at once and cannot be resumed. Their logs, curves and checkpoints stay.</p>
      ) : (
        <DeletionConsequences jobs={jobs} />
      )}
      <ul className="max-h-60 list-disc overflow-auto pl-5">
        {jobs.map((job) => (
          <li key={job.id} className="break-all">
            {jobName(job)}
          </li>
        ))}
      </ul>
    </Confirm>
  );
}

function DeletionConsequences({ jobs }: { jobs: readonly Job[] }) {
  const open = jobs.filter((job) => !hasEnded(job)).length;
  const adapters = jobs.filter((job) => job.adapter_id !== null).length;
  return (
    <div>
      <p>Their logs, curves and checkpoints will be deleted for good. Their files stay.</p>
      {open > 0 && <p className="text-warn">{integer(open)} of them {open === 1 ? "is" : "are"} cancelled first.</p>}
      {adapters > 0 && (
        <p className="text-muted">The adapters and models of {counted(adapters, "job")} stay.</p>
      )}
    </div>
  );
}

interface OutcomesProps {
  outcomes: readonly Outcome[];
  done: string;
  onClose: () => void;
}

function Outcomes({ outcomes, done, onClose }: OutcomesProps) {
  const failed = outcomes.filter(({ failure }) => failure !== null);
  return (
    <Modal title="Outcome" onClose={onClose}>
      <Notice tone={failed.length ? "bad" : "plain"}>
        {integer(outcomes.length - failed.length)} of {counted(outcomes.length, "job")} {done}
      </Notice>
      <ul className="mt-2 grid max-h-60 gap-1 overflow-auto">
        {outcomes.map(({ job, failure }) => (
          <li key={job.id} className="break-all">
            <strong>{jobName(job)}</strong>: {failure ?? done}
          </li>
        ))}
      </ul>
    </Modal>
  );
}
