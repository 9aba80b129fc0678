import { pWords, signed, verdictWords } from "@/lib/evals/evalWords";
import { significant } from "@/lib/text/format";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { CriterionComparison } from "@/types/api";

import { Estimate } from "./Estimate";

interface ComparisonTableProps {
  label: string;
  criteria: readonly CriterionComparison[];
}

/** What each criterion says of two models: both values, their difference, and whether it is more than chance. */
export function ComparisonTable({ label, criteria }: ComparisonTableProps) {
  return <DataTable columns={COLUMNS} rows={criteria} keyOf={({ name }) => name} region={wideRegion(label)} />;
}

const COLUMNS: readonly Column<CriterionComparison>[] = [
  {
    name: "Criterion",
    isRowHead: true,
    cell: ({ name, base }) => (
      <>
        <span className="block text-sm text-ink">{name}</span>
        {base.better === "lower" && <span className="fact block">lower is better</span>}
      </>
    ),
  },
  { name: "Verdict", cell: (one) => <Verdict one={one} /> }, // here a phone shows it too
  { name: "Base", align: "right", cell: ({ base }) => <Estimate value={significant(base.value)} interval={base} /> },
  { name: "Tuned", align: "right", cell: ({ tuned }) => <Estimate value={significant(tuned.value)} interval={tuned} /> },
  { name: "Difference", align: "right", cell: (one) => <Estimate value={signed(one.difference)} interval={one} /> },
  {
    name: "p",
    head: (
      <abbr title="How likely at least this difference would be if the models were equally good, corrected for the number of criteria">
        p
      </abbr>
    ),
    align: "right",
    shownFrom: "md",
    className: "whitespace-nowrap",
    cell: ({ adjusted_p_value }) => pWords(adjusted_p_value),
  },
];

const COLOURS = { better: "text-good", worse: "text-bad", no_clear_difference: "text-muted" };

function Verdict({ one }: { one: CriterionComparison }) {
  return <span className={COLOURS[one.verdict]}>{verdictWords(one)}</span>;
}
