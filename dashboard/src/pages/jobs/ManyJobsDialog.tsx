import { type ManyAction, type Outcome, useManyJobs } from "@/api/jobs/manyJobs";
import { hasEnded, type Job } from "@/api/types";
import { integer } from "@/lib/text/format";
import { jobName } from "@/lib/facts/jobFacts";
import { Modal } from "@/parts/dialogs/Modal";
import { Notice } from "@/parts/page/Notice";

interface ManyDialogProps {
  /** As they were when it was asked for: a deleted one is not in the list any more. */
  jobs: readonly Job[];
  action: ManyAction;
  onClose: () => void;
}

const WORDS = {
  cancel: { verb: "Cancel", doing: "Cancelling…", done: "cancelled" },
  delete: { verb: "Delete", doing: "Deleting…", done: "deleted" },
} as const;

/** Asks, does it, and tells what came of each: it cannot be left before that. */
export function ManyDialog({ jobs, action, onClose }: ManyDialogProps) {
  const { data, isPending, mutate } = useManyJobs(action);
  const { verb } = WORDS[action];
  return (
    <Modal
      key={data ? "outcomes" : "question"} // so that the focus gets into what is new
      title={data ? "What came of it" : `${verb} ${jobsIn(jobs.length)}?`}
      stays={isPending}
      onClose={onClose}
    >
      {data ? (
        <Outcomes outcomes={data} action={action} />
      ) : (
        <Question jobs={jobs} action={action} pending={isPending} onClose={onClose} onConfirm={() => mutate(jobs)} />
      )}
    </Modal>
  );
}

interface QuestionProps extends ManyDialogProps {
  pending: boolean;
  onConfirm: () => void;
}

function Question({ jobs, action, pending, onClose, onConfirm }: QuestionProps) {
  const { verb, doing } = WORDS[action];
  return (
    <>
      {action === "cancel" ? (
        <p>They end at once and cannot go on. Their logs, curves and checkpoints stay.</p>
      ) : (
        <Lost jobs={jobs} />
      )}
      <ul className="mt-2 max-h-60 list-disc overflow-auto pl-5">
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
          {pending ? doing : `${verb} ${jobsIn(jobs.length)}`}
        </button>
      </div>
    </>
  );
}

function Lost({ jobs }: { jobs: readonly Job[] }) {
  const open = jobs.filter((job) => !hasEnded(job)).length;
  const adapters = jobs.filter((job) => job.adapter_id !== null).length;
  return (
    <>
      <p>Their logs, curves and checkpoints are gone for good. Their files stay.</p>
      {open > 0 && <p className="text-warn">{integer(open)} of them {open === 1 ? "is" : "are"} cancelled first.</p>}
      {adapters > 0 && <p className="text-muted">The adapters of {jobsIn(adapters)} stay, with their models.</p>}
    </>
  );
}

interface OutcomesProps {
  outcomes: readonly Outcome[];
  action: ManyAction;
}

function Outcomes({ outcomes, action }: OutcomesProps) {
  const { done } = WORDS[action];
  const refused = outcomes.filter(({ failure }) => failure !== null);
  return (
    <>
      <Notice tone={refused.length ? "bad" : "plain"}>
        {integer(outcomes.length - refused.length)} of {jobsIn(outcomes.length)} {done}
      </Notice>
      <ul className="mt-2 grid max-h-60 gap-1 overflow-auto">
        {outcomes.map(({ job, failure }) => (
          <li key={job.id} className="break-all">
            <strong>{jobName(job)}</strong>: {failure ?? done}
          </li>
        ))}
      </ul>
    </>
  );
}

function jobsIn(count: number): string {
  return count === 1 ? "1 job" : `${integer(count)} jobs`;
}
