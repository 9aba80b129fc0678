import { Link } from "@tanstack/react-router";

import { useWork, useWorkList } from "@/api/work/work";
import { compositionWords, resultWords, type Trial, trialsOf, weightsOf } from "@/lib/compose/compositionFacts";
import { significant } from "@/lib/text/format";
import { Section } from "@/components/page/Section";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import { WorkLine } from "@/components/work/WorkLine";
import type { Composition } from "@/types/api";

/** The compositions of the project, newest first. Their records are deleted after some days; the adapters stay. */
export function Compositions() {
  return (
    <Section title="Compositions">
      <PagedList list={useWorkList("composition")} empty="No composition.">
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
  const { end } = useWork("composition");
  const words = compositionWords(one);
  return (
    <WorkLine
      kind="composition"
      words={words}
      work={one}
      result={resultWords(one)}
      end={end}
    >
      {one.adapter_id && (
        <Link to="/adapters/$adapterId" params={{ adapterId: one.adapter_id }} className="link break-all">
          {one.fine_tuned_model ?? one.adapter_id}
        </Link>
      )}
      <WeightedParts one={one} />
      <Trials trials={trialsOf(one)} label={`Trials of the composition ${words}`} />
    </WorkLine>
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
