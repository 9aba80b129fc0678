import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { comparisonQuery } from "@/api/evals/comparisons";
import { evalsOfJobQuery } from "@/api/evals/ofJob";
import { isUnderWay } from "@/api/evals/runs";
import type { Job } from "@/api/types";
import { chosenRuns, type JudgedEval, shownEvals } from "@/lib/evals/chosenRuns";
import { counted } from "@/lib/text/format";
import { Loaded } from "@/parts/page/Loaded";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";

import { ComparisonTable } from "./ComparisonTable";
import { Evaluate } from "./Evaluate";
import { RunState } from "./RunState";

interface IsItBetterProps {
  jobId: string;
  /** Undefined while it is read, and if it was deleted. The evals are found without it. */
  job: Job | undefined;
  hasSucceeded: boolean;
}

/** The result of a job against its base model, by each criterion, and what the model has forgotten. */
export function IsItBetter({ jobId, job, hasSucceeded }: IsItBetterProps) {
  const { data: evals, failureReason } = useQuery(evalsOfJobQuery(jobId, hasSucceeded));
  if (!hasSucceeded || (evals === undefined && failureReason === null)) return null;
  const { result, forgetting } = shownEvals(evals ?? []);
  const isEvaluable = evals !== undefined && !result && job !== undefined;
  if (evals && !result && !forgetting && !job) return null;
  return (
    <Section title="Is it better?" tools={result && <ToEval id={result.eval.id} />}>
      {evals === undefined && <Failure error={failureReason} />}
      {isEvaluable && <Evaluate job={job} />}
      {result && <Outcome judged={result} label="Result against the base model" />}
      {forgetting && (
        <div className="border-t border-line">
          <div className="flex flex-wrap items-center justify-between gap-2 px-4 pt-2.5">
            <h3 className="font-medium">What it has forgotten: general questions</h3>
            <ToEval id={forgetting.eval.id} />
          </div>
          <Outcome judged={forgetting} label="General questions" />
        </div>
      )}
    </Section>
  );
}

function ToEval({ id }: { id: string }) {
  return (
    <Link to="/evals/$evalId" params={{ evalId: id }} className="link">
      Rows and details<span className="sr-only"> of {id}</span>
    </Link>
  );
}

/** The comparison of the eval's runs, or how far they are. */
function Outcome({ judged, label }: { judged: JudgedEval; label: string }) {
  const { base, tuned } = chosenRuns(judged.runs);
  const waiting = judged.runs.filter(isUnderWay);
  if (base && tuned && !waiting.length) {
    return <Compared label={label} evalId={judged.eval.id} base={base.id} tuned={tuned.id} />;
  }
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

function Compared({ label, ...pair }: { label: string; evalId: string; base: string; tuned: string }) {
  return (
    <Loaded query={useQuery(comparisonQuery(pair))}>
      {({ criteria, compared_rows, left_out_rows }) => (
        <>
          <ComparisonTable label={label} criteria={criteria} />
          <p className="fact border-t border-line px-4 py-1.5">
            On {counted(compared_rows, "row")}, with 95 % intervals.
            {left_out_rows > 0 && ` ${counted(left_out_rows, "row")} could not be judged.`}
          </p>
        </>
      )}
    </Loaded>
  );
}
