import { useNavigate } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type Ref, useCallback, useEffect, useRef, useState } from "react";

import { visibleJobs } from "@/api/jobs/jobs";
import type { Job } from "@/api/types";
import type { JobSearch, Sort } from "@/lib/addresses/jobSearch";
import { useShortcuts } from "@/lib/browser/shortcuts";
import { type Selection, toggled } from "@/lib/jobs/selection";
import { Icon } from "@/parts/basics/Icon";

import { type ColumnHead, HEADS, TICK } from "./jobColumns";
import { JobRow, ROW_HEIGHT } from "./JobRow";

const OVERSCAN = 8;
const NEAR_END = 20; // rows before the end at which the next jobs are read

interface JobTableProps {
  jobs: readonly Job[];
  /** Whether these are all that are found. */
  complete: boolean;
  search: JobSearch;
  selection: Selection;
  allSelected: boolean;
  onSelect: (change: (before: Selection) => Selection) => void;
  /** Ticks all that are found, those too that are still to be read; unticks them where all are ticked. */
  onSelectAll: () => void;
  onEnd: () => void;
}

/** Only the rows on the screen exist, whatever the number of jobs. */
export function JobTable(props: JobTableProps) {
  const { jobs, complete, search, selection, allSelected, onSelect, onSelectAll, onEnd } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [headHeight, measureHead] = useHeight();
  const [active, setActive] = useState(-1);
  const rows = useVirtualizer({
    count: jobs.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    scrollMargin: headHeight, // the head is in the way of the rows, and sticks above them
    scrollPaddingStart: headHeight,
    getItemKey: (at) => jobs[at]?.id ?? at,
  });
  const shown = rows.getVirtualItems();
  const before = (shown[0]?.start ?? headHeight) - headHeight;
  const after = rows.getTotalSize() - ((shown.at(-1)?.end ?? headHeight) - headHeight);

  const move = (by: number) => {
    const next = Math.min(Math.max(active + by, 0), jobs.length - 1);
    setActive(next);
    rows.scrollToIndex(next);
  };
  const toggle = useCallback((id: string) => onSelect((before) => toggled(before, id)), [onSelect]);
  const activeId = jobs[active]?.id;
  useShortcuts({ j: () => move(1), k: () => move(-1), x: () => activeId !== undefined && toggle(activeId) });

  useEffect(() => {
    visibleJobs.ids = new Set(shown.flatMap(({ index }) => jobs[index]?.id ?? []));
    if ((shown.at(-1)?.index ?? 0) >= jobs.length - NEAR_END) onEnd();
  });

  return (
    <div ref={scroller} tabIndex={0} role="region" aria-label="Jobs" className="card min-h-60 flex-1 basis-0 overflow-auto">
      <table className="data-table table-fixed" aria-rowcount={complete ? jobs.length + 1 : -1}>
        <Heads search={search} all={allSelected} onAll={onSelectAll} measure={measureHead} />
        <tbody>
          <Gap height={before} />
          {shown.map(({ index, key }) => {
            const job = jobs[index];
            return (
              job && (
                <JobRow
                  key={key}
                  job={job}
                  place={index}
                  active={index === active}
                  selected={selection.has(job.id)}
                  onToggle={toggle}
                />
              )
            );
          })}
          <Gap height={after} />
        </tbody>
      </table>
      {jobs.length === 0 && (
        <p className="p-6 text-center text-muted">{complete ? "No job is like that." : "Reading…"}</p>
      )}
    </div>
  );
}

/** In the place of rows that are not on the screen. */
function Gap({ height }: { height: number }) {
  return height > 0 ? <tr aria-hidden="true" style={{ height }} /> : null;
}

/** Of an element that is measured, as it is now. */
function useHeight(): [number, (element: HTMLElement | null) => (() => void) | undefined] {
  const [height, setHeight] = useState(0);
  const measure = useCallback((element: HTMLElement | null) => {
    if (!element) return undefined;
    const seen = new ResizeObserver(() => setHeight(element.offsetHeight));
    seen.observe(element);
    return () => seen.disconnect();
  }, []);
  return [height, measure];
}

interface HeadsProps {
  search: JobSearch;
  /** Whether all jobs that are found are ticked. */
  all: boolean;
  onAll: () => void;
  measure: Ref<HTMLTableSectionElement>;
}

function Heads({ search, all, onAll, measure }: HeadsProps) {
  return (
    <thead ref={measure} className="sticky top-0 z-10">
      <tr aria-rowindex={1}>
        <th scope="col" className={`${TICK} border-b border-line`}>
          <input type="checkbox" aria-label="Select all jobs found" checked={all} onChange={onAll} />
        </th>
        {HEADS.map((head) => (
          <Head key={head.label} head={head} search={search} />
        ))}
      </tr>
    </thead>
  );
}

const DESCENDING: ReadonlySet<Sort> = new Set(["created", "progress"]);

function Head({ head, search }: { head: ColumnHead; search: JobSearch }) {
  const navigate = useNavigate({ from: "/jobs" });
  const { sort } = head;
  const className = `${head.className} border-b border-line`;
  if (!sort) return <th scope="col" className={className}>{head.label}</th>;

  const sorted = (search.sort ?? "created") === sort;
  const descending = DESCENDING.has(sort) !== Boolean(search.reversed);
  const toggle = () => {
    const reversed = sorted && !search.reversed ? true : undefined;
    void navigate({ search: { ...search, sort, reversed }, replace: true });
  };
  return (
    <th scope="col" className={className} aria-sort={sorted ? (descending ? "descending" : "ascending") : "none"}>
      <button type="button" className="inline-flex items-center gap-1 font-medium [text-align:inherit] hover:text-ink" onClick={toggle}>
        {head.label}
        {sorted && <Icon name={descending ? "down" : "up"} className="size-3" />}
      </button>
    </th>
  );
}
