import type { ReactNode } from "react";

import { useMayWrite } from "@/api/project/session";
import { KINDS, type Kind } from "@/api/work/kinds";
import { isUnderWay, type WorkState } from "@/api/work/work";
import { Ago } from "@/components/basics/Ago";
import { Prose } from "@/components/basics/Prose";
import { StatusMark } from "@/components/basics/StatusMark";
import { Failure } from "@/components/page/Notice";

import { WorkProgress } from "./WorkProgress";

interface WorkLineProps<Item extends WorkState> {
  kind: Kind;
  /** What is made. */
  words: string;
  work: Item;
  /** What the work says about its result. */
  result: string | null;
  /** Cancels the work while it is under way, and deletes it once it has ended. */
  end: { isPending: boolean; error: unknown; mutate: (work: Item) => void };
  /** Shown beside the status: what was made. */
  made?: ReactNode;
  /** Shown below. */
  children?: ReactNode;
}

/** A piece of work of a list: its status, its progress while it runs, its result or its error, and the button that ends it. */
export function WorkLine<Item extends WorkState>({ kind, words, work, result, end, made, children }: WorkLineProps<Item>) {
  const mayWrite = useMayWrite();
  const verb = isUnderWay(work) ? "Cancel" : "Delete";
  const { name } = KINDS[kind];
  const said = work.error?.message ?? result;
  return (
    <li className="grid gap-1 border-t border-line px-4 py-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="min-w-0 flex-1">{words}</span>
        <StatusMark status={work.status} />
        <Ago unix={work.created_at} />
        {made}
        {mayWrite && (
          <button
            type="button"
            className="link text-bad"
            aria-label={`${verb} the ${name} ${words}`}
            disabled={end.isPending}
            onClick={() => end.mutate(work)}
          >
            {verb}
          </button>
        )}
      </div>
      {work.status === "running" && <WorkProgress work={work} name={`the ${name} ${words}`} />}
      {said && (
        <p className={work.error ? "text-bad" : "fact"}>
          <Prose text={said} />
        </p>
      )}
      {children}
      {end.error != null && <Failure asked error={end.error} />}
    </li>
  );
}
