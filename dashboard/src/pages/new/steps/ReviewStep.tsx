import { automaticValuesOf } from "@/lib/newJob/automaticValues";
import { requestOf } from "@/lib/newJob/draft";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { Prose } from "@/components/basics/Prose";

import { RequestCode } from "./RequestCode";
import { Step } from "./Step";

interface ReviewProps extends StepProps {
  mayWrite: boolean;
  isPending: boolean;
  onCreate: () => void;
  onReset: () => void;
}

/** The request that will be sent, and the values that the service chooses. */
export function ReviewStep({ mayWrite, isPending, onCreate, onReset, ...step }: ReviewProps) {
  return (
    <Step number={4} title="Review">
      <RequestCode request={requestOf(step.draft, step.offer)} />
      <AutomaticValues {...step} />
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
        {!mayWrite && <p className="fact">This key is read-only. Only a member's key can create jobs.</p>}
      </div>
    </Step>
  );
}

/** The rules come from the API. A value that depends on the rows is known only after the job is created. */
function AutomaticValues({ draft, offer }: StepProps) {
  const values = automaticValuesOf(draft, offer);
  if (!values.length) return null;
  return (
    <div className="grid gap-1">
      <h3>Left to the service</h3>
      <dl className="text-xs">
        {values.map(({ path, becomes, isLater }) => (
          <div key={path} className="grid grid-cols-2 gap-3 border-t border-line py-1">
            <dt className="font-mono wrap-anywhere text-muted">{path.replace(/^method\.\w+\.hyperparameters\./, "")}</dt>
            <dd className="break-words">
              <Prose text={becomes} />
              {isLater && <span aria-hidden="true"> *</span>}
            </dd>
          </div>
        ))}
      </dl>
      {values.some(({ isLater }) => isLater) && (
        <p className="fact">* This is the rule. The job's page shows the value once the job is created.</p>
      )}
    </div>
  );
}
