import { useState } from "react";

import { useMayWrite } from "@/api/project/session";
import { isUnderWay, useWork } from "@/api/work/work";
import type { EvalSearch } from "@/lib/addresses/evalSearch";
import { type ChosenRuns, hasCompleted } from "@/lib/evals/chosenRuns";
import { samplesWords } from "@/lib/evals/evalWords";
import { counted, NOTHING, significant } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { Confirm } from "@/components/dialogs/Confirm";
import { Estimate } from "@/components/evals/Estimate";
import { RunState } from "@/components/evals/RunState";
import { actionsColumn, type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { CriterionResult, Eval, EvalRun } from "@/types/api";

interface RunTableProps {
  criteria: Eval["testing_criteria"];
  runs: readonly EvalRun[];
  chosen: ChosenRuns;
  onChoose: (changed: EvalSearch) => void;
}

/** Each run with the value of each criterion. Two of the completed runs are chosen for the comparison. */
export function RunTable({ criteria, runs, chosen, onChoose }: RunTableProps) {
  const mayWrite = useMayWrite();
  const choice = (role: "base" | "tuned", label: string): Column<EvalRun> => ({
    name: label,
    cell: (run) => (
      <input
        type="radio"
        name={role}
        aria-label={`Compare ${run.name} as ${role === "base" ? "the base" : "the tuned model"}`}
        checked={run.id === chosen[role]?.id}
        disabled={!hasCompleted(run) || run.id === chosen[role === "base" ? "tuned" : "base"]?.id}
        onChange={() => onChoose({ base: chosen.base?.id ?? run.id, tuned: chosen.tuned?.id ?? run.id, [role]: run.id })}
      />
    ),
  });
  const columns: Column<EvalRun>[] = [
    { name: "Model", isRowHead: true, className: "min-w-40", cell: (run) => <Model run={run} /> },
    choice("base", "Base"),
    choice("tuned", "Tuned"),
    { name: "Status", className: "min-w-28", cell: (run) => <RunState run={run} /> },
    ...criteria.map(
      ({ name }): Column<EvalRun> => ({
        name: `Value of ${name}`,
        head: name,
        align: "right",
        cell: (run) => <Value result={run.criteria.find((one) => one.name === name)} />,
      }),
    ),
    ...(mayWrite ? [actionsColumn<EvalRun>((run) => <Remove run={run} />)] : []),
  ];
  return <DataTable columns={columns} rows={runs} keyOf={({ id }) => id} region={wideRegion("Runs, table")} />;
}

function Model({ run }: { run: EvalRun }) {
  const { total = 0, errored = 0 } = run.result_counts;
  return (
    <>
      <span className="block text-sm break-all text-ink">{run.name}</span>
      {run.model && run.model !== run.name && <span className="fact block break-all">{run.model}</span>}
      <span className="fact block">
        <Ago unix={run.created_at} />
        {total > 0 && ` · ${counted(total, isSampled(run) ? "answer" : "row")}`}
        {errored > 0 && `, ${errored} could not be judged`}
      </span>
    </>
  );
}

const isSampled = (run: EvalRun) => run.criteria.some(({ sampled }) => sampled);

function Value({ result }: { result: CriterionResult | undefined }) {
  if (!result) return NOTHING;
  return (
    <>
      <Estimate value={significant(result.value)} interval={result} />
      {samplesWords(result).map((words) => (
        <span key={words} className="fact block whitespace-nowrap" title={result.sampled?.advice}>
          {words}
        </span>
      ))}
    </>
  );
}

function Remove({ run }: { run: EvalRun }) {
  const [asked, setAsked] = useState<EvalRun | null>(null); // the run as it was when the button was pressed
  const word = isUnderWay(run) ? "Cancel" : "Delete";
  return (
    <>
      <button
        type="button"
        className="link text-bad"
        aria-label={`${word} the run ${run.name}`}
        onClick={() => setAsked(run)}
      >
        {word}
      </button>
      {asked && <ConfirmRemoval run={asked} onClose={() => setAsked(null)} />}
    </>
  );
}

function ConfirmRemoval({ run, onClose }: { run: EvalRun; onClose: () => void }) {
  const { end } = useWork("run", run.eval_id);
  const word = isUnderWay(run) ? "Cancel" : "Delete";
  return (
    <Confirm
      title={`${word} this run?`}
      action={`${word} run`}
      mutation={end}
      onConfirm={() => end.mutate(run, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        <strong>{run.name}</strong>{" "}
        {isUnderWay(run) ? "ends at once and cannot be resumed." : "will be deleted for good, with all that it found."}
      </p>
    </Confirm>
  );
}
