import { settingsOf, settingsPath, trackerSettings, withTracker } from "@/lib/newJob/trackers";
import { FieldGroup } from "@/pages/new/fields/FieldGroup";
import { SchemaFields } from "@/pages/new/fields/SchemaFields";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { Prose } from "@/components/basics/Prose";
import { Tick } from "@/components/forms/Tick";

const NAMES: Record<string, string> = { wandb: "Weights & Biases", mlflow: "MLflow", tensorboard: "TensorBoard" };

/** The experiment trackers that get the job's metrics. */
export function TrackerFields(props: StepProps) {
  const { draft, offer } = props;
  const offered = offer.trackers.map(({ id }) => id);
  const others = draft.integrations.map(({ type }) => type as string).filter((type) => !offered.includes(type));
  const all = [...offered, ...others];
  const hint = all.length
    ? "They get the settings and each step's metrics, and never slow the job."
    : "This service offers none.";
  return (
    <FieldGroup title="Experiment trackers" path="integrations" hint={hint} takesFocus>
      {all.map((type) => (
        <OneTracker key={type} type={type} isOffered={offered.includes(type)} {...props} />
      ))}
    </FieldGroup>
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
      <Tick checked={chosen !== undefined} onChange={(checked) => set(checked ? {} : null)}>
        <span>{NAMES[type] ?? type}</span>
        {!isOffered && <span className="text-warn">not offered here</span>}
      </Tick>
      {chosen && (
        <div className="grid gap-3 border-l-2 border-line pl-4">
          <p className="fact">
            <Prose text={offer.schemas.trackers[type]?.description ?? ""} />
          </p>
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
