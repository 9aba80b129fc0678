import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { ROW_ORDERS, ROW_PARTS, type RowOrder, type RowPart, useRowLosses } from "@/api/jobs/rows";
import { useMayWrite } from "@/api/project/session";
import { integer, significant } from "@/lib/text/format";
import { Section } from "@/components/page/Section";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { Job, RowLoss } from "@/types/api";

import { LeaveOut } from "./LeaveOut";

/** What the job has learnt of single rows. Only a job that asks for it has measured them. */
export function RowLosses({ job }: { job: Job }) {
  return job.training.row_losses ? <Rows job={job} /> : null;
}

function Rows({ job }: { job: Job }) {
  const [order, setOrder] = useState<RowOrder>("likely_mislabelled");
  const [part, setPart] = useState<RowPart>("training");
  return (
    <Section
      title="Rows"
      tools={
        <div className="flex flex-wrap gap-2">
          <Choice label="Order of the rows" value={order} options={Object.entries(ROW_ORDERS)} onChange={setOrder} />
          <Choice
            label="Part of the data"
            value={part}
            options={ROW_PARTS.map((name) => [name, `${name} rows`])}
            onChange={setPart}
          />
        </div>
      }
    >
      <p className="px-4 pb-3 text-muted">
        Losses in nats per learnt token, before the first step and of the result. A row is suspect if its loss is above
        that of rows with similar prompts.
      </p>
      <PartRows key={part} {...{ job, order, part }} />
    </Section>
  );
}

/** The rows of one part, of which some may be chosen. */
function PartRows({ job, order, part }: { job: Job; order: RowOrder; part: RowPart }) {
  const [chosen, setChosen] = useState<readonly number[]>([]);
  const list = useRowLosses(job.id, job.status, order, part);
  const mayWrite = useMayWrite();
  const toggle = (line: number) =>
    setChosen((lines) => (lines.includes(line) ? lines.filter((other) => other !== line) : [...lines, line]));
  const fileId = list.items?.[0]?.file_id;
  return (
    <>
      <PagedList list={list} empty={job.finished_at ? "No row has such a loss." : "Rows are measured at the begin and at the end."}>
        {(rows) => (
          <DataTable
            columns={columnsOf(chosen, mayWrite ? toggle : null)}
            rows={rows}
            keyOf={({ id }) => id}
            region={{ label: "Losses of rows", className: "max-h-96 overflow-auto", stickyHead: true }}
          />
        )}
      </PagedList>
      {mayWrite && fileId !== undefined && chosen.length > 0 && <LeaveOut key={fileId} fileId={fileId} lines={chosen} />}
    </>
  );
}

interface ChoiceProps<Value extends string> {
  label: string;
  value: Value;
  options: readonly (readonly [string, string])[];
  onChange: (value: Value) => void;
}

function Choice<Value extends string>({ label, value, options, onChange }: ChoiceProps<Value>) {
  return (
    <select className="input" aria-label={label} value={value} onChange={({ target }) => onChange(target.value as Value)}>
      {options.map(([name, words]) => (
        <option key={name} value={name}>
          {words}
        </option>
      ))}
    </select>
  );
}

function columnsOf(chosen: readonly number[], onToggle: ((line: number) => void) | null): Column<RowLoss>[] {
  const columns: Column<RowLoss>[] = [
    {
      name: "Line",
      isRowHead: true,
      cell: ({ file_id, line }) => (
        <Link to="/files/$fileId" params={{ fileId: file_id }} search={{ line }} className="link">
          {integer(line)}
        </Link>
      ),
    },
    { name: "Tokens", align: "right", shownFrom: "sm", cell: ({ tokens }) => integer(tokens) },
    { name: "Before", align: "right", cell: ({ loss_before }) => significant(loss_before) },
    { name: "After", align: "right", cell: ({ loss_after }) => significant(loss_after) },
    { name: "Change", align: "right", shownFrom: "sm", cell: ({ change }) => significant(change) },
    { name: "Above similar rows", align: "right", cell: ({ suspicion }) => significant(suspicion) },
  ];
  if (onToggle === null) return columns;
  const leaveOut: Column<RowLoss> = {
    name: "Leave out",
    hiddenHead: true,
    cell: ({ line }) => (
      <input
        type="checkbox"
        aria-label={`Leave line ${line} out`}
        checked={chosen.includes(line)}
        onChange={() => onToggle(line)}
      />
    ),
  };
  return [leaveOut, ...columns];
}
