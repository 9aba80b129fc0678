import { Link } from "@tanstack/react-router";

import { useCompositions, useRemoveComposition } from "@/api/project/compositions";
import type { Composition } from "@/api/types";
import { compositionWords, resultWords, type Trial, trialsOf, weightsOf } from "@/lib/compose/compositionFacts";
import { significant } from "@/lib/text/format";
import { Section } from "@/parts/page/Section";
import { type Column, wideRegion } from "@/parts/tables/columns";
import { DataTable } from "@/parts/tables/DataTable";
import { PagedList } from "@/parts/tables/PagedList";
import { TaskLine } from "@/parts/tasks/TaskLine";

/** The compositions of the project, newest first. Their records are deleted after some days; the adapters stay. */
export function Compositions() {
  return (
    <Section title="Compositions">
      <PagedList list={useCompositions()} empty="No composition.">
        {(items) => (
          <ul>
            {items.map((one) => (
              <CompositionLine key={one.id} one={one} />
            ))}
          </ul>
        )}
      </PagedList>
    </Section>
  );
}

function CompositionLine({ one }: { one: Composition }) {
  const remove = useRemoveComposition();
  const words = compositionWords(one);
  return (
    <TaskLine
      kind="composition"
      words={words}
      task={one}
      result={resultWords(one)}
      removal={{ ...remove, onRemove: () => remove.mutate(one) }}
    >
      {one.adapter_id && (
        <Link to="/adapters/$adapterId" params={{ adapterId: one.adapter_id }} className="link break-all">
          {one.fine_tuned_model ?? one.adapter_id}
        </Link>
      )}
      <WeightedParts one={one} />
      <Trials trials={trialsOf(one)} label={`Trials of the composition ${words}`} />
    </TaskLine>
  );
}

function WeightedParts({ one }: { one: Composition }) {
  const weights = weightsOf(one);
  return (
    <ul className="fact">
      {one.request.adapters.map(({ adapter }, at) => (
        <li key={adapter} className="break-all">
          {significant(weights[at])} × {adapter}
        </li>
      ))}
    </ul>
  );
}

function Trials({ trials, label }: { trials: readonly Trial[]; label: string }) {
  if (!trials.length) return null;
  return (
    <details>
      <summary className="link">Trials of the search</summary>
      <DataTable columns={COLUMNS} rows={trials} keyOf={({ weights }) => weights.join()} region={wideRegion(label)} />
    </details>
  );
}

const COLUMNS: readonly Column<Trial>[] = [
  { name: "Weights", isRowHead: true, cell: ({ weights }) => weights.map(significant).join(", ") },
  { name: "Loss of each file", align: "right", cell: ({ losses }) => losses.map(significant).join(", ") },
  { name: "Mean loss", align: "right", cell: ({ loss }) => significant(loss) },
];
