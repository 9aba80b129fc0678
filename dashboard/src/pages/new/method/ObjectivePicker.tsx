import { FieldNote } from "@/pages/new/fields/FieldNote";
import { fieldId, useForm } from "@/pages/new/fields/formContext";
import type { StepProps } from "@/pages/new/fields/stepProps";
import { Prose } from "@/components/basics/Prose";

export function ObjectivePicker({ draft, offer, change }: StepProps) {
  const problem = useForm().problemAt("method.type", true);
  return (
    <fieldset className="grid min-w-0 gap-2">
      <legend className="mb-2 font-medium">Training objective</legend>
      <div className="grid gap-2 sm:grid-cols-2 lg:grid-cols-3">
        {Object.entries(offer.schemas.objectives).map(([objective, { title, paragraphs }]) => {
          const chosen = draft.objective === objective;
          return (
            <label
              key={objective}
              className={`grid cursor-pointer grid-cols-[auto_1fr] content-start gap-x-2 rounded border p-3 ${chosen ? "border-accent bg-tint" : "border-line hover:bg-sunken"}`}
            >
              <input
                id={chosen ? fieldId("method.type") : undefined}
                type="radio"
                name="objective"
                className="mt-0.5 accent-accent"
                checked={chosen}
                onChange={() => change({ objective })}
              />
              <span className="font-medium">{title}</span>
              {(chosen ? paragraphs : paragraphs.slice(0, 1)).map((paragraph) => (
                <span key={paragraph} className="fact col-start-2">
                  <Prose text={paragraph} />
                </span>
              ))}
            </label>
          );
        })}
      </div>
      <FieldNote problem={problem} />
    </fieldset>
  );
}
