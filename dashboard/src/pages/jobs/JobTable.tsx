import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";

import { visibleJobs } from "@/api/jobs/jobs";
import { isDescending, type JobSearch, type Sort } from "@/lib/addresses/jobSearch";
import { jobName } from "@/lib/facts/jobFacts";
import { type Selection, toggled } from "@/lib/jobs/selection";
import { VirtualTable } from "@/components/tables/VirtualTable";
import type { Job } from "@/types/api";

import { JOB_COLUMNS } from "./jobColumns";

const ROW_HEIGHT = 44; // pixels
const NEAR_END = 20; // rows before the end at which the next jobs are read

interface JobTableProps {
  jobs: readonly Job[];
  /** Whether these are all jobs found. */
  isComplete: boolean;
  search: JobSearch;
  selection: Selection;
  isAllSelected: boolean;
  onSelect: (change: (before: Selection) => Selection) => void;
  /** Selects all jobs found, including those that are not read yet. Unselects them if all are selected. */
  onSelectAll: () => void;
  /** Called when the rows on the screen are near the end. */
  onEnd: () => void;
}

export function JobTable(props: JobTableProps) {
  const { jobs, isComplete, search, selection, isAllSelected, onSelect, onSelectAll, onEnd } = props;
  const navigate = useNavigate({ from: "/jobs" });
  const sortedBy = search.sort ?? "created";
  const sort = (by: Sort) => {
    const reversed = by === sortedBy && !search.reversed ? true : undefined;
    void navigate({ search: { ...search, sort: by, reversed }, replace: true });
  };
  const toggle = useCallback((job: Job) => onSelect((before) => toggled(before, job.id)), [onSelect]);
  return (
    <VirtualTable
      label="Jobs"
      className="card min-h-60 flex-1 basis-0 overflow-auto"
      fixed
      columns={JOB_COLUMNS}
      rows={jobs}
      keyOf={(job) => job.id}
      rowClasses={() => "hover:bg-sunken focus-within:bg-tint"}
      rowHeight={ROW_HEIGHT}
      isComplete={isComplete}
      sorting={{ by: sortedBy, isDescending: isDescending(search), onSort: sort }}
      selection={{
        isSelected: (job) => selection.has(job.id),
        nameOf: jobName,
        onToggle: toggle,
        isAllSelected,
        allLabel: "Select all jobs found",
        onToggleAll: onSelectAll,
      }}
      onShown={(shown, last) => {
        visibleJobs.ids = new Set(shown.map(({ id }) => id));
        if (last >= jobs.length - NEAR_END) onEnd();
      }}
    >
      {jobs.length === 0 && (
        <p className="p-6 text-center text-muted">{isComplete ? "No job matches." : "Reading…"}</p>
      )}
    </VirtualTable>
  );
}
