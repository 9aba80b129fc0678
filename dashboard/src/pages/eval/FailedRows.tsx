import { useFailedRows } from "@/api/evals/failedRows";
import { promptOf } from "@/lib/evals/rowTexts";
import { integer } from "@/lib/text/format";
import { Prose } from "@/components/basics/Prose";
import { Words } from "@/components/evals/Words";
import { Section } from "@/components/page/Section";
import { PagedList } from "@/components/tables/PagedList";
import type { EvalRun } from "@/types/api";

/** The rows that a run could not judge, each with the reason. */
export function FailedRows({ run }: { run: EvalRun }) {
  return (
    <Section title={`Rows that could not be judged: ${run.name}`}>
      <PagedList list={useFailedRows(run)} empty="No row.">
        {(items) => (
          <ol>
            {items.map(({ id, datasource_item_id, datasource_item, sample, error }) => {
              const name = `row ${integer(datasource_item_id + 1)}`;
              return (
                <li key={id} className="grid gap-2 border-t border-line px-4 py-3">
                  <p>
                    <strong className="inline-block first-letter:uppercase">{name}</strong>{" "}
                    <span className="text-bad">
                      <Prose text={error.message ?? ""} />
                    </span>
                  </p>
                  <Words title={`Prompt of ${name}`} pieces={promptOf(datasource_item, sample)} />
                </li>
              );
            })}
          </ol>
        )}
      </PagedList>
    </Section>
  );
}
