import type { ReactNode } from "react";

import { isUnderWay, type TaskState } from "@/api/project/tasks";
import { useMayWrite } from "@/api/project/session";
import { Ago } from "@/parts/basics/Ago";
import { ProgressBar } from "@/parts/basics/ProgressBar";
import { Prose } from "@/parts/basics/Prose";
import { StatusMark } from "@/parts/basics/StatusMark";
import { Failure } from "@/parts/page/Notice";

interface TaskLineProps {
  /** The kind of the task: `export`, for example. */
  kind: string;
  /** What is made. */
  words: string;
  task: TaskState;
  /** What the task says about its result. */
  result: string | null;
  /** Cancels the task while it is under way, and deletes it once it has ended. */
  removal: { isPending: boolean; error: unknown; onRemove: () => void };
  /** Shown beside the status: what was made. */
  made?: ReactNode;
  /** Shown below. */
  children?: ReactNode;
}

/** A task of a list: its status, its progress while it runs, its result or its error, and the button that ends it. */
export function TaskLine({ kind, words, task, result, removal, made, children }: TaskLineProps) {
  const mayWrite = useMayWrite();
  const removes = isUnderWay(task) ? "Cancel" : "Delete";
  const said = task.error?.message ?? result;
  return (
    <li className="grid gap-1 border-t border-line px-4 py-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="min-w-0 flex-1">{words}</span>
        <StatusMark status={task.status} />
        <Ago unix={task.created_at} />
        {made}
        {mayWrite && (
          <button
            type="button"
            className="link text-bad"
            aria-label={`${removes} the ${kind} ${words}`}
            disabled={removal.isPending}
            onClick={removal.onRemove}
          >
            {removes}
          </button>
        )}
      </div>
      {task.status === "running" && (
        <>
          <ProgressBar percent={task.progress.percent} label={`Progress of the ${kind} ${words}`} />
          <p className="fact">{task.progress.phase}</p>
        </>
      )}
      {said && (
        <p className={task.error ? "text-bad" : "fact"}>
          <Prose text={said} />
        </p>
      )}
      {children}
      {removal.error != null && <Failure asked error={removal.error} />}
    </li>
  );
}
