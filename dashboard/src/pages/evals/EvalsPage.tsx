import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { useEvals } from "@/api/evals/evals";
import { newestWorkQuery } from "@/api/work/work";
import { Ago } from "@/components/basics/Ago";
import { RunState } from "@/components/evals/RunState";
import { PageTitle } from "@/components/page/PageTitle";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { Eval } from "@/types/api";

export function EvalsPage() {
  const evals = useEvals();
  return (
    <>
      <PageTitle title="Evals" />
      <div className="card">
        <PagedList list={evals} empty={<NoEval />}>
          {(items) => (
            <DataTable fixed columns={COLUMNS} rows={items} keyOf={({ id }) => id} rowClasses={() => "hover:bg-sunken"} />
          )}
        </PagedList>
      </div>
    </>
  );
}

const COLUMNS: readonly Column<Eval>[] = [
  {
    name: "Name",
    cell: ({ id, name }) => (
      <Link to="/evals/$evalId" params={{ evalId: id }} className="link block truncate font-medium" title={name}>
        {name}
      </Link>
    ),
    below: (one) => (
      <>
        {criteriaOf(one)} · <Ago unix={one.created_at} />
      </>
    ),
  },
  { name: "Criteria", shownFrom: "md", width: "w-64", className: "truncate", cell: criteriaOf },
  { name: "Job", shownFrom: "lg", width: "w-56", className: "truncate", cell: ({ job_id }) => <JobLink id={job_id} /> },
  { name: "Newest run", width: "w-32 md:w-44", cell: ({ id }) => <NewestRun evalId={id} /> },
  {
    name: "Created",
    align: "right",
    shownFrom: "md",
    width: "w-32",
    className: "whitespace-nowrap",
    cell: ({ created_at }) => <Ago unix={created_at} />,
  },
];

function criteriaOf({ testing_criteria }: Eval): string {
  return testing_criteria.map(({ name }) => name).join(", ");
}

function JobLink({ id }: { id: string | null }) {
  if (id === null) return <span className="text-muted">none</span>;
  return (
    <Link to="/jobs/$jobId" params={{ jobId: id }} className="link font-mono text-xs" title={id}>
      {id}
    </Link>
  );
}

function NewestRun({ evalId }: { evalId: string }) {
  const { data: run } = useQuery(newestWorkQuery("run", evalId));
  if (run === null) return <span className="text-muted">no run</span>;
  return run && <RunState run={run} />;
}

function NoEval() {
  return (
    <div className="grid gap-2">
      <p>No eval yet. An eval says how models are judged, and its runs judge a model each on the same rows.</p>
      <p>
        A new job with a validation file can be evaluated at its end. If such a job has succeeded without an eval, its page
        has a button that evaluates it. For any two models,{" "}
        <code className="font-mono wrap-anywhere">tunery evaluate BASE TUNED --file rows.jsonl --criteria exact_match</code>{" "}
        makes an eval with a run of each.
      </p>
    </div>
  );
}
