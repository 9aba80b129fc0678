import { Link } from "@tanstack/react-router";

import { isNotFound, messageOf } from "@/api/failures";
import type { Job } from "@/api/types";
import { useNow } from "@/lib/browser/useNow";
import { otherYardsticks, type Result, resultOf } from "@/lib/jobs/comparison";
import { saveCsv } from "@/lib/text/csv";
import { LineSample } from "@/parts/charts/LineSample";
import { Section } from "@/parts/page/Section";
import { StatusMark } from "@/parts/basics/StatusMark";

import { MEASURES } from "./measures";
import { Measured } from "./ResultValue";
import type { Compared } from "./useCompared";

interface ResultsProps {
  compared: readonly Compared[];
  /** An id. */
  baseline: string;
  onBaseline: (id: string) => void;
  onRemove: (id: string) => void;
}

/** What each job came to, and by how much that is other than the baseline's. */
export function Results({ compared, baseline, onBaseline, onRemove }: ResultsProps) {
  const now = useNow();
  const rows = compared.map((one) => ({ ...one, result: one.job && resultOf(one.job, one.run.series, now) }));
  const base = rows.find(({ id }) => id === baseline);
  return (
    <Section title="Results" tools={<Download rows={rows} />}>
      <div className="wide-table" tabIndex={0} role="region" aria-label="Results">
        <table className="data-table">
          <thead>
            <tr>
              <th scope="col">Job</th>
              <th scope="col" className="max-md:hidden">
                Status
              </th>
              <th scope="col">Baseline</th>
              {MEASURES.map(({ label }) => (
                <th key={label} scope="col" className="number">
                  {label}
                </th>
              ))}
              <th scope="col">
                <span className="sr-only">Take out</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ id, place, job, error, run, result }) => (
              <tr key={id}>
                <th scope="row" className="min-w-32 border-t border-line font-medium">
                  <span className="flex items-center gap-2">
                    <LineSample place={place} />
                    <Link to="/jobs/$jobId" params={{ jobId: id }} className="link text-sm break-all">
                      {run.name}
                    </Link>
                  </span>
                </th>
                <td className={job && !isNotFound(error) ? "max-md:hidden" : ""}>
                  <Status job={job} error={error} />
                </td>
                <td>
                  <input
                    type="radio"
                    name="baseline"
                    aria-label={`Measure by ${run.name}`}
                    checked={id === baseline}
                    disabled={!job}
                    onChange={() => onBaseline(id)}
                  />
                </td>
                {MEASURES.map((measure) => (
                  <td key={measure.label} className="number whitespace-nowrap">
                    <Measured
                      measure={measure}
                      result={result}
                      base={id === baseline ? undefined : base?.result}
                      otherwise={job && base?.job ? otherYardsticks(job, base.job) : []}
                    />
                  </td>
                ))}
                <td className="number">
                  <button type="button" className="link" onClick={() => onRemove(id)}>
                    Take out<span className="sr-only"> {run.name}</span>
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}

/** What was read of a job that somebody deletes meanwhile is still compared. */
function Status({ job, error }: { job: Job | undefined; error: Error | null }) {
  if (isNotFound(error)) return <span className="text-bad">{job ? "deleted meanwhile" : "not in this project"}</span>;
  if (job) return <StatusMark status={job.status} />;
  return error ? <span className="text-bad">{messageOf(error)}</span> : <span className="text-muted">reading…</span>;
}

function Download({ rows }: { rows: readonly (Compared & { result: Result | undefined })[] }) {
  const download = () => {
    const head = ["job", "name", "status", ...MEASURES.map(({ key }) => key)];
    const lines = rows.map(({ id, run, job, result }) => [
      id,
      run.name,
      job?.status ?? null,
      ...MEASURES.map(({ key }) => result?.[key] ?? null),
    ]);
    saveCsv("compare-results.csv", head, lines);
  };
  return (
    <button type="button" className="link" onClick={download}>
      CSV<span className="sr-only"> of the results</span>
    </button>
  );
}
