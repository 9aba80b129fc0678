import { autosOf } from "@/lib/newJob/automaticValues";
import { requestOf } from "@/lib/newJob/draft";

import { RequestCode } from "./RequestCode";
import { Step } from "./Step";
import type { StepProps } from "@/pages/new/fields/stepProps";

interface ReviewProps extends StepProps {
  mayWrite: boolean;
  isPending: boolean;
  onCreate: () => void;
  onReset: () => void;
}

/** What will be sent, and what becomes of the rest. */
export function ReviewStep({ mayWrite, isPending, onCreate, onReset, ...step }: ReviewProps) {
  return (
    <Step number={4} title="Review">
      <RequestCode request={requestOf(step.draft, step.offer)} />
      <Autos {...step} />
      <div className="flex flex-wrap items-center gap-2">
        <button
          type="button"
          className="button button-primary"
          disabled={!mayWrite || isPending}
          onClick={onCreate}
        >
          {isPending ? "Creating…" : step.draft.tried ? "Create sweep" : "Create job"}
        </button>
        <button type="button" className="button" onClick={onReset}>
          Start over
        </button>
        {!mayWrite && <p className="fact">This key is read-only: a member's key creates jobs.</p>}
      </div>
    </Step>
  );
}

/** The API tells these rules; values that depend on the rows stand in the created job alone. */
function Autos({ draft, offer }: StepProps) {
  const autos = autosOf(draft, offer);
  if (!autos.length) return null;
  return (
    <div className="grid gap-1">
      <h3 className="font-medium">Left to the service</h3>
      <dl className="text-xs">
        {autos.map(({ path, becomes, later }) => (
          <div key={path} className="grid grid-cols-2 gap-3 border-t border-line py-1">
            <dt className="font-mono break-all text-muted">{path.replace(/^method\.\w+\.hyperparameters\./, "")}</dt>
            <dd className="break-words">
              {becomes}
              {later && <span aria-hidden="true"> *</span>}
            </dd>
          </div>
        ))}
      </dl>
      {autos.some(({ later }) => later) && (
        <p className="fact">* The rule; the API tells the value once the job is created, and the job's page shows it.</p>
      )}
    </div>
  );
}
