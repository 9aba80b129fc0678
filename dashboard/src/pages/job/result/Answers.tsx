import { useState } from "react";

import { hasEnded, hasSamples } from "@/lib/facts/jobFacts";
import { judgementOf } from "@/lib/jobs/judgedRows";
import { answeredRows, beginningOf, type Evaluation, matches, matchWords, type Sample } from "@/lib/facts/samples";
import { integer } from "@/lib/text/format";
import { Icon } from "@/components/basics/Icon";
import { PromptText } from "@/components/basics/PromptText";
import { SampleText } from "@/components/basics/SampleText";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { Job } from "@/types/api";

import { JudgedAnswers } from "./JudgedAnswers";

interface AnswersProps {
  job: Job;
  evaluations: readonly Evaluation[];
  failure: Error | null;
}

/**
 * The model's answers to validation prompts, beside what was expected: those before the first step, and those of another
 * evaluation, the newest unless the reader chooses one.
 */
export function Answers({ job, evaluations, failure }: AnswersProps) {
  const [step, setStep] = useState<number | null>(null);
  if (!hasSamples(job)) return null;
  const judgement = judgementOf(evaluations);
  if (judgement) return <JudgedAnswers evaluations={evaluations} by={judgement} />;
  const before = beginningOf(evaluations);
  const shown = evaluations.find((one) => one.step === step) ?? evaluations.at(-1);
  return (
    <Section
      title="Answers"
      tools={shown && <EvaluationPicker {...{ evaluations, shown }} isNewest={step === null} onChoose={setStep} />}
    >
      {failure && !shown && <Failure error={failure} />}
      {shown && (
        <>
          <p className="px-4 pb-3 text-muted">{matchWords(before, shown)}</p>
          <Rows before={before === shown ? undefined : before} shown={shown} />
        </>
      )}
      {!shown && <p className="px-4 pb-4 text-muted">{nothingYet(hasEnded(job))}</p>}
    </Section>
  );
}

interface EvaluationPickerProps {
  evaluations: readonly Evaluation[];
  shown: Evaluation;
  isNewest: boolean;
  /** Null shows the newest evaluation, also when newer ones follow. */
  onChoose: (step: number | null) => void;
}

function EvaluationPicker({ evaluations, shown, isNewest, onChoose }: EvaluationPickerProps) {
  const last = evaluations.at(-1);
  return (
    <select
      aria-label="Evaluation"
      className="field"
      value={isNewest ? "newest" : shown.step}
      onChange={({ target: { value } }) => onChoose(value === "newest" ? null : Number(value))}
    >
      <option value="newest">newest{last && `, ${stepWords(last.step)}`}</option>
      {evaluations.toReversed().map(({ step }) => (
        <option key={step} value={step}>
          {stepWords(step)}
        </option>
      ))}
    </select>
  );
}

function stepWords(step: number): string {
  return step === 0 ? "before the first step" : `step ${integer(step)}`;
}

function Rows({ before, shown }: { before: Evaluation | undefined; shown: Evaluation }) {
  const columns = before ? "md:grid-cols-2 xl:grid-cols-4" : "md:grid-cols-3";
  return (
    <ol>
      {answeredRows(before, shown).map(({ sample, first }) => (
        <li key={sample.line} className={`grid gap-3 border-t border-line px-4 py-3 ${columns}`}>
          <PromptText title={`Prompt of line ${integer(sample.line)}`} prompt={sample.prompt} />
          <SampleText
            title="Expected"
            text={sample.expected}
            note={sample.expected === null && "The file holds an answer to avoid."}
          />
          {before && (first ? <Answer title="Before training" sample={first} /> : <SampleText title="Before training" text={null} />)}
          <Answer title={shown.step === 0 ? "Before training" : `After ${stepWords(shown.step)}`} sample={sample} tone="border-accent" />
        </li>
      ))}
    </ol>
  );
}

function Answer({ title, sample, tone }: { title: string; sample: Sample; tone?: string }) {
  return (
    <SampleText
      title={title}
      text={sample.answer}
      note={sample.error ?? (!sample.finished && !matches(sample) && "Cut off: eval_max_new_tokens allows no more tokens.")}
      mark={
        matches(sample) && (
          <span className="inline-flex items-center gap-1 text-good">
            <Icon name="succeeded" />
            as expected
          </span>
        )
      }
      {...(tone && { tone })}
    />
  );
}

function nothingYet(ended: boolean): string {
  return ended ? "The job ended before its model answered." : "The first answers come before the first step.";
}
