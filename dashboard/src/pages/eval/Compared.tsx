import { useQuery } from "@tanstack/react-query";

import { comparisonQuery } from "@/api/evals/comparisons";
import type { EvalSearch } from "@/lib/addresses/evalSearch";
import { counted } from "@/lib/text/format";
import { ComparisonTable } from "@/components/evals/ComparisonTable";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { Comparison, EvalRun } from "@/types/api";

import { ChangedRows } from "./ChangedRows";

interface ComparedProps {
  evalId: string;
  base: EvalRun;
  tuned: EvalRun;
  search: EvalSearch;
  onChange: (changed: EvalSearch) => void;
}

/** Two runs: what each criterion says of them, and the rows that changed. */
export function Compared({ evalId, base, tuned, search, onChange }: ComparedProps) {
  const pair = { evalId, base: base.id, tuned: tuned.id };
  const query = useQuery(comparisonQuery(pair));
  return (
    <>
      <Section title="Comparison">
        <Loaded query={query}>
          {(found) => (
            <>
              <Heading found={found} />
              <ComparisonTable label="Comparison, table" criteria={found.criteria} />
            </>
          )}
        </Loaded>
      </Section>
      {query.data && query.data.criteria.length > 0 && (
        <ChangedRows pair={pair} criteria={query.data.criteria} search={search} onChange={onChange} />
      )}
    </>
  );
}

function Heading({ found: { base, tuned, compared_rows, left_out_rows } }: { found: Comparison }) {
  return (
    <p className="px-4 pb-3 text-muted">
      <strong className="break-all text-ink">{tuned.model || "the tuned run"}</strong> against{" "}
      <strong className="break-all text-ink">{base.model || "the base run"}</strong> on {counted(compared_rows, "row")}, with
      95 % intervals.
      {left_out_rows > 0 && ` ${counted(left_out_rows, "row")} left out: one of the runs could not judge them.`}
    </p>
  );
}
