import { runStatus } from "@/lib/evals/evalWords";
import { ProgressBar } from "@/components/basics/ProgressBar";
import { Prose } from "@/components/basics/Prose";
import { StatusMark } from "@/components/basics/StatusMark";
import type { EvalRun } from "@/types/api";

/** The status of a run, its progress while it is under way, and why it failed. */
export function RunState({ run }: { run: EvalRun }) {
  return (
    <div className="grid min-w-0 gap-1">
      <StatusMark status={runStatus(run)} />
      {run.status === "in_progress" && (
        <>
          <ProgressBar percent={run.progress.percent} label={`Progress of ${run.name}`} />
          <span className="fact">
            {run.progress.percent.toFixed(0)} % {run.progress.phase}
          </span>
        </>
      )}
      {run.error.message && (
        <span className="text-xs break-words text-bad">
          <Prose text={run.error.message} />
        </span>
      )}
    </div>
  );
}
