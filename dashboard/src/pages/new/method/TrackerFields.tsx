import { settingsOf, settingsPath, trackerSettings, withTracker } from "@/lib/newJob/trackers";

import { fieldId, useForm } from "@/pages/new/fields/formContext";
import { SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";

const NAMES: Record<string, string> = { wandb: "Weights & Biases", mlflow: "MLflow", tensorboard: "TensorBoard" };

/** Who else is told of the job's metrics. */
export function TrackerFields(props: StepProps) {
  const { draft, offer } = props;
  const problem = useForm().problemAt("integrations", true);
  const offered = offer.trackers.map(({ id }) => id);
  const others = draft.integrations.map(({ type }) => type as string).filter((type) => !offered.includes(type));
  const all = [...offered, ...others];
  return (
    <fieldset id={fieldId("integrations")} tabIndex={-1} className="grid min-w-0 grid-cols-1 gap-3 border-t border-line pt-5">
      <legend className="float-left font-medium">Experiment trackers</legend>
      <p className="fact clear-both">
        {all.length ? "They get the settings and each step's metrics, and never slow the job." : "This service offers none."}
      </p>
      {all.map((type) => (
        <OneTracker key={type} type={type} isOffered={offered.includes(type)} {...props} />
      ))}
      {problem !== undefined && <p className="text-xs text-bad">{problem}</p>}
    </fieldset>
  );
}

interface OneTrackerProps extends StepProps {
  type: string;
  isOffered: boolean;
}

function OneTracker({ type, isOffered, draft, offer, change }: OneTrackerProps) {
  const { integrations } = draft;
  const chosen = integrations.find((one) => one.type === type);
  const schema = trackerSettings(type, offer.schemas, offer.trackers);
  const set = (settings: Record<string, unknown> | null) =>
    change({ integrations: withTracker(integrations, type, settings, schema) });
  return (
    <div className="grid gap-3">
      <label className="flex items-center gap-2">
        <input
          type="checkbox"
          className="size-4 accent-accent"
          checked={chosen !== undefined}
          onChange={({ target }) => set(target.checked ? {} : null)}
        />
        <span>{NAMES[type] ?? type}</span>
        {!isOffered && <span className="text-warn">not on offer here</span>}
      </label>
      {chosen && (
        <div className="grid gap-3 border-l-2 border-line pl-4">
          <p className="fact">{offer.schemas.trackers[type]?.description.replaceAll("`", "")}</p>
          {schema && (
            <SchemaFields
              schema={schema}
              values={settingsOf(chosen)}
              path={settingsPath(integrations, type)}
              onChange={(settings) => set({ ...settings })}
            />
          )}
        </div>
      )}
    </div>
  );
}
