import { Link } from "@tanstack/react-router";

import { isNotFound, messageOf } from "@/api/failures";
import { useNow } from "@/lib/browser/useNow";
import { differingConditions, type Result, resultOf } from "@/lib/jobs/comparison";
import { saveCsv } from "@/lib/text/csv";
import { NOTHING, significant } from "@/lib/text/format";
import { Prose } from "@/components/basics/Prose";
import { StatusMark } from "@/components/basics/StatusMark";
import { LineSample } from "@/components/charts/LineSample";
import { Estimate } from "@/components/evals/Estimate";
import { Section } from "@/components/page/Section";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";

import { METRICS } from "./metrics";
import { ResultValue } from "./ResultValue";
import type { Compared } from "./useCompared";

interface ResultsProps {
  compared: readonly Compared[];
  /** The id of the job that the others are measured against. */
  baseline: string;
  onBaseline: (id: string) => void;
  onRemove: (id: string) => void;
}

type ResultRow = Compared & { result: Result | undefined };

/** The results of each job, and how much they differ from the results of the baseline. */
export function Results({ compared, ...rest }: ResultsProps) {
  const now = useNow();
  const rows = compared.map((one) => ({ ...one, result: one.job && resultOf(one.job, one.training.series, now) }));
  return (
    <Section title="Results" tools={<DownloadCsv rows={rows} />}>
      <DataTable
        columns={columnsOf(rows, rest)}
        rows={rows}
        keyOf={({ id }) => id}
        region={wideRegion("Results, table")}
      />
    </Section>
  );
}

function columnsOf(
  rows: readonly ResultRow[],
  { baseline, onBaseline, onRemove }: Omit<ResultsProps, "compared">,
): Column<ResultRow>[] {
  const base = rows.find(({ id }) => id === baseline);
  const metrics = METRICS.map(
    (metric): Column<ResultRow> => ({
      name: metric.label,
      align: "right",
      className: "whitespace-nowrap",
      cell: ({ id, job, result }) => (
        <ResultValue
          metric={metric}
          result={result}
          base={id === baseline ? undefined : base?.result}
          differing={job && base?.job && metric.measured ? differingConditions(metric.measured, job, base.job) : []}
        />
      ),
    }),
  );
  return [
    {
      name: "Job",
      isRowHead: true,
      className: "min-w-32 font-medium",
      cell: ({ id, styleIndex, training }) => (
        <span className="flex items-center gap-2">
          <LineSample styleIndex={styleIndex} />
          <Link to="/jobs/$jobId" params={{ jobId: id }} className="link text-sm break-all">
            {training.name}
          </Link>
        </span>
      ),
    },
    {
      name: "Status",
      // A phone shows it only if a job is missing.
      ...(rows.every(isKnown) && { shownFrom: "md" as const }),
      cell: (row) => <Status row={row} />,
    },
    {
      name: "Baseline",
      cell: ({ id, job, training }) => (
        <input
          type="radio"
          name="baseline"
          aria-label={`Use ${training.name} as the baseline`}
          checked={id === baseline}
          disabled={!job}
          onChange={() => onBaseline(id)}
        />
      ),
    },
    ...metrics,
    ...criteriaOf(rows).map(criterionColumn),
    {
      name: "Remove",
      hiddenHead: true,
      align: "right",
      cell: ({ id, training }) => (
        <button type="button" className="link" onClick={() => onRemove(id)}>
          Remove<span className="sr-only"> {training.name}</span>
        </button>
      ),
    },
  ];
}

/** Returns the names of the criteria by which any of the jobs was judged. */
function criteriaOf(rows: readonly ResultRow[]): string[] {
  return [...new Set(rows.flatMap(({ judged }) => judged.map(({ name }) => name)))];
}

/** The value of one criterion with its interval. Evals of two jobs may have other rows, so no difference is shown. */
function criterionColumn(criterion: string): Column<ResultRow> {
  return {
    name: `Eval: ${criterion}`,
    align: "right",
    cell: ({ judged }) => {
      const result = judged.find(({ name }) => name === criterion);
      return result ? <Estimate value={significant(result.value)} interval={result} /> : NOTHING;
    },
  };
}

function isKnown({ job, error }: Compared): boolean {
  return job !== undefined && !isNotFound(error);
}

/** The status of a job. A job that was deleted meanwhile stays in the comparison with what was read of it. */
function Status({ row: { job, error } }: { row: Compared }) {
  if (isNotFound(error)) return <span className="text-bad">{job ? "deleted meanwhile" : "not in this project"}</span>;
  if (job) return <StatusMark status={job.status} />;
  return error ? <span className="text-bad"><Prose text={messageOf(error)} /></span> : <span className="text-muted">reading…</span>;
}

function DownloadCsv({ rows }: { rows: readonly ResultRow[] }) {
  const download = () => {
    const criteria = criteriaOf(rows);
    const head = ["job", "name", "status", ...METRICS.map(({ key }) => key), ...criteria.map((name) => `eval ${name}`)];
    const lines = rows.map(({ id, training, job, result, judged }) => [
      id,
      training.name,
      job?.status ?? null,
      ...METRICS.map(({ key }) => result?.[key] ?? null),
      ...criteria.map((criterion) => judged.find(({ name }) => name === criterion)?.value ?? null),
    ]);
    saveCsv("compare-results.csv", head, lines);
  };
  return (
    <button type="button" className="link" onClick={download}>
      CSV<span className="sr-only"> of the results</span>
    </button>
  );
}
