import { type ComparedRow, comparedRows, countMatches, matches } from "@/lib/facts/samples";
import { Icon } from "@/components/basics/Icon";
import { PromptText } from "@/components/basics/PromptText";
import { SampleText } from "@/components/basics/SampleText";
import { LineSample } from "@/components/charts/LineSample";
import { Section } from "@/components/page/Section";

import type { Compared } from "./useCompared";

/** The last answers of all jobs to the same prompts, beside each other. */
export function ComparedAnswers({ compared }: { compared: readonly Compared[] }) {
  const last = compared.map(({ answers }) => answers);
  const rows = comparedRows(last);
  if (!rows.length) return null;
  return (
    <Section title="Answers">
      <ul className="flex flex-wrap gap-x-6 gap-y-1 px-4 pb-3 text-muted">
        {compared.map(({ id, styleIndex, training }, at) => (
          <li key={id} className="flex items-center gap-2">
            <LineSample styleIndex={styleIndex} />
            {training.name}: {countWords(last[at])}
          </li>
        ))}
      </ul>
      <ol>
        {rows.map((row) => (
          <Row key={`${row.prompt} ${row.expected}`} row={row} names={compared.map(({ training }) => training.name)} />
        ))}
      </ol>
    </Section>
  );
}

function countWords(evaluation: Parameters<typeof countMatches>[0] | undefined): string {
  if (!evaluation) return "no answers";
  const { right, of } = countMatches(evaluation);
  return `${right} of ${of} as expected`;
}

function Row({ row, names }: { row: ComparedRow; names: readonly string[] }) {
  return (
    <li className="grid gap-3 border-t border-line px-4 py-3 sm:grid-cols-2 xl:grid-cols-[repeat(auto-fit,minmax(14rem,1fr))]">
      <PromptText title="Prompt" prompt={row.prompt} />
      <SampleText title="Expected" text={row.expected} />
      {row.answers.map((sample, at) => (
        <SampleText
          key={names[at]}
          title={names[at] ?? ""}
          text={sample?.answer ?? null}
          note={!sample && "not asked"}
          tone="border-accent"
          mark={
            sample && matches(sample) && (
              <span className="inline-flex items-center gap-1 text-good">
                <Icon name="succeeded" />
                as expected
              </span>
            )
          }
        />
      ))}
    </li>
  );
}
