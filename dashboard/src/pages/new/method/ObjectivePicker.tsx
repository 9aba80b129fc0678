import { FieldProblem } from "@/pages/new/fields/FieldGroup";
import { fieldId, useForm } from "@/pages/new/fields/formContext";
import type { StepProps } from "@/pages/new/fields/stepProps";

/** The purpose of each objective. An objective that is newer than this page is shown with its name only. */
const WORDS: Record<string, { title: string; rows: string; text: string }> = {
  supervised: {
    title: "Supervised",
    rows: "Conversations",
    text: "Learns to answer as the assistant in the rows does.",
  },
  dpo: {
    title: "DPO",
    rows: "Two answers to a prompt",
    text: "Learns to prefer one answer to the other, and stays near the base model.",
  },
  orpo: {
    title: "ORPO",
    rows: "Two answers to a prompt",
    text: "Learns the preferred answer and the preference together, without a reference model.",
  },
  kto: {
    title: "KTO",
    rows: "An answer, desirable or not",
    text: "Learns from thumbs up and down, which need not come in pairs.",
  },
  simpo: {
    title: "SimPO",
    rows: "Two answers to a prompt",
    text: "Learns to prefer one answer by its mean log-probability, without a reference model.",
  },
};

export function ObjectivePicker({ draft, offer, change }: StepProps) {
  const problem = useForm().problemAt("method.type", true);
  return (
    <fieldset className="grid min-w-0 gap-2">
      <legend className="mb-2 font-medium">Training objective</legend>
      <div className="grid gap-2 sm:grid-cols-2 lg:grid-cols-3">
        {Object.keys(offer.schemas.objectives).map((objective) => {
          const { title, rows, text } = WORDS[objective] ?? { title: objective, rows: "", text: "" };
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
              <span className="fact col-start-2">{text}</span>
              {rows && <span className="fact col-start-2">Rows: {rows}</span>}
            </label>
          );
        })}
      </div>
      <FieldProblem problem={problem} />
    </fieldset>
  );
}
