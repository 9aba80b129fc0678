import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { hasSamples, samplesQuery } from "@/api/jobs/samples";
import type { LiveJob } from "@/api/live/liveJob";
import { useLiveVersion } from "@/api/live/useLiveJob";
import { hasEnded, type Job } from "@/api/types";
import { type Evaluation, type Sample, samplesOf } from "@/lib/facts/samples";
import { integer } from "@/lib/text/format";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";

/** The model's answers to validation prompts at one evaluation: at the newest unless the reader chooses another. */
export function Samples({ job, live }: { job: Job; live: LiveJob }) {
  useLiveVersion(live);
  const { data, failureReason } = useQuery(samplesQuery(job));
  const { events } = live.log;
  const evaluations = useMemo(() => samplesOf([...(data ?? []), ...events]), [data, events]);
  const [step, setStep] = useState<number | null>(null);
  if (!hasSamples(job)) return null;
  const shown = evaluations.find((one) => one.step === step) ?? evaluations.at(-1);
  return (
    <Section
      title="Samples"
      tools={shown && <EvaluationPicker {...{ evaluations, shown }} isNewest={step === null} onChoose={setStep} />}
    >
      {failureReason && !data && <Failure error={failureReason} />}
      {shown && <Answers rows={shown.rows} />}
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
      <option value="newest">newest{last && `, step ${integer(last.step)}`}</option>
      {evaluations.toReversed().map(({ step }) => (
        <option key={step} value={step}>
          step {integer(step)}
        </option>
      ))}
    </select>
  );
}

function Answers({ rows }: { rows: readonly Sample[] }) {
  return (
    <ol>
      {rows.map((sample) => (
        <li key={sample.line} className="grid gap-3 border-t border-line px-4 py-3 md:grid-cols-3">
          <Words title={`Prompt of line ${integer(sample.line)}`} text={sample.prompt} />
          <Words
            title="Expected"
            text={sample.expected}
            note={sample.expected === null && "The file holds an answer to avoid."}
          />
          <Words
            title="Answer"
            text={sample.answer}
            note={sample.error ?? (!sample.finished && "The answer was cut off: it is longer than the job allows.")}
            tone="border-accent"
          />
        </li>
      ))}
    </ol>
  );
}

interface WordsProps {
  title: string;
  text: string | null;
  note?: string | false;
  tone?: string;
}

function Words({ title, text, note = false, tone = "border-line" }: WordsProps) {
  return (
    <div className={`min-w-0 rounded border-l-4 bg-sunken p-3 ${tone}`}>
      <h3 className="fact mb-1">{title}</h3>
      {text !== null && (
        <div tabIndex={0} role="region" aria-label={title} className="max-h-60 overflow-auto break-words whitespace-pre-wrap">
          {text}
        </div>
      )}
      {note && <p className="fact mt-1">{note}</p>}
    </div>
  );
}

function nothingYet(ended: boolean): string {
  return ended ? "The job ended before its first evaluation." : "The first answers come with the first evaluation.";
}
