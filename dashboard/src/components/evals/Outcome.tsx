import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { comparisonQuery, type Pair, pairOf } from "@/api/evals/comparisons";
import type { JudgedEval } from "@/lib/evals/chosenRuns";
import { counted } from "@/lib/text/format";
import { Loaded } from "@/components/page/Loaded";

import { ComparisonTable } from "./ComparisonTable";
import { MostChanged } from "./MostChanged";
import { RunState } from "./RunState";

interface OutcomeProps {
  judged: JudgedEval;
  label: string;
  /** Whether the rows that changed most are shown below the table. */
  withRows?: boolean;
}

/** The comparison of an eval's runs, or how far they are. */
export function Outcome({ judged, label, withRows = false }: OutcomeProps) {
  const pair = pairOf(judged);
  if (pair) return <Compared label={label} pair={pair} withRows={withRows} />;
  return (
    <ul className="grid gap-3 px-4 pb-4">
      {judged.runs.map((run) => (
        <li key={run.id} className="grid grid-cols-[1fr_minmax(8rem,auto)] items-start gap-3">
          <span className="break-all">{run.name}</span>
          <RunState run={run} />
        </li>
      ))}
    </ul>
  );
}

function Compared({ label, pair, withRows }: { label: string; pair: Pair; withRows: boolean }) {
  return (
    <Loaded query={useQuery(comparisonQuery(pair))}>
      {({ criteria, compared_rows, left_out_rows }) => (
        <>
          <ComparisonTable label={label} criteria={criteria} />
          <p className="fact border-t border-line px-4 py-1.5">
            On {counted(compared_rows, "row")}, with 95 % intervals.
            {left_out_rows > 0 && ` ${counted(left_out_rows, "row")} could not be judged.`}
          </p>
          {withRows && criteria[0] && <MostChanged pair={pair} criterion={criteria[0].name} />}
        </>
      )}
    </Loaded>
  );
}

/** What the model has forgotten: the comparison on general questions. */
export function Forgetting({ judged }: { judged: JudgedEval }) {
  return (
    <div className="border-t border-line">
      <div className="flex flex-wrap items-center justify-between gap-2 px-4 pt-2.5">
        <h3 className="font-medium">What it has forgotten: general questions</h3>
        <ToEval id={judged.eval.id} />
      </div>
      <Outcome judged={judged} label="General questions" />
    </div>
  );
}

export function ToEval({ id }: { id: string }) {
  return (
    <Link to="/evals/$evalId" params={{ evalId: id }} className="link">
      Rows and details<span className="sr-only"> of {id}</span>
    </Link>
  );
}
