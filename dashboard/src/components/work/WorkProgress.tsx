import type { WorkState } from "@/api/work/work";
import { ProgressBar } from "@/components/basics/ProgressBar";

interface WorkProgressProps {
  work: Pick<WorkState, "progress" | "status">;
  /** What the progress is of: "the check", for example. */
  name: string;
}

/** How far work is, and what it does. */
export function WorkProgress({ work: { progress, status }, name }: WorkProgressProps) {
  return (
    <>
      <ProgressBar percent={progress.percent} label={`Progress of ${name}`} />
      <p className="fact">{progress.phase || status}</p>
    </>
  );
}
