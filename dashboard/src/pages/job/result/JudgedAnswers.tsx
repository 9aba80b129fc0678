import { useMemo, useState } from "react";

import { type JudgedRow, judgedRows, type Judgement, type Order, ORDERS } from "@/lib/jobs/judgedRows";
import type { Evaluation, Sample } from "@/lib/facts/samples";
import { integer, significant } from "@/lib/text/format";
import { PromptText } from "@/components/basics/PromptText";
import { SampleText } from "@/components/basics/SampleText";
import { Section } from "@/components/page/Section";

const ORDER_WORDS: Record<Order, string> = {
  file: "in the order of the file",
  gain: "what became better first",
  loss: "what became worse first",
};

interface JudgedAnswersProps {
  evaluations: readonly Evaluation[];
  by: Judgement;
}

/** The model's answers to validation prompts, as they are judged. Those to one prompt stand beside each other, by step. */
export function JudgedAnswers({ evaluations, by }: JudgedAnswersProps) {
  const [order, setOrder] = useState<Order>("file");
  const rows = useMemo(() => judgedRows(evaluations, by, order), [evaluations, by, order]);
  return (
    <Section title="Answers" tools={<OrderPicker order={order} onChoose={setOrder} />}>
      <ol>
        {rows.map((row) => (
          <li key={row.line} className="grid gap-3 border-t border-line px-4 py-3 md:grid-cols-[minmax(0,1fr)_minmax(0,3fr)]">
            <div className="grid min-w-0 content-start gap-2">
              <PromptText title={`Prompt of line ${integer(row.line)}`} prompt={row.prompt} />
              <p className="fact">{changeWords(row, by)}</p>
            </div>
            <ol className="grid auto-cols-[minmax(14rem,1fr)] grid-flow-col gap-3 overflow-x-auto">
              {row.answers.map(({ step, sample }) => (
                <li key={step} className="grid min-w-0">
                  <Answer {...{ step, sample, by }} />
                </li>
              ))}
            </ol>
          </li>
        ))}
      </ol>
    </Section>
  );
}

function OrderPicker({ order, onChoose }: { order: Order; onChoose: (order: Order) => void }) {
  return (
    <select
      aria-label="Order of the prompts"
      className="field"
      value={order}
      onChange={({ target }) => onChoose(target.value as Order)}
    >
      {ORDERS.map((one) => (
        <option key={one} value={one}>
          {ORDER_WORDS[one]}
        </option>
      ))}
    </select>
  );
}

function Answer({ step, sample, by }: { step: number; sample: Sample; by: Judgement }) {
  const { answer, audit, finished, error, grade_error, audit_error } = sample;
  const cut = error ?? (!finished && "Truncated: max_completion_tokens allows no more tokens.");
  return (
    <SampleText
      title={step === 0 ? "Before training" : `After step ${integer(step)}`}
      text={answer}
      note={[cut, grade_error, audit_error].filter(Boolean).join(" ")}
      mark={
        <span className="text-ink">
          {by.words} {significant(sample[by.of])}
          {audit !== undefined && `, audit ${significant(audit)}`}
        </span>
      }
      {...(step > 0 && { tone: "border-accent" })}
    />
  );
}

function changeWords({ change }: JudgedRow, { words }: Judgement): string {
  if (change === null) return `There are not yet two values of the ${words} to compare.`;
  return `Change of the ${words} from first to last: ${change > 0 ? "+" : ""}${significant(change)}`;
}
