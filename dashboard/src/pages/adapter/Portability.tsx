import { useQuery } from "@tanstack/react-query";

import { useMayWrite } from "@/api/project/session";
import { isUnderWay, useWork, workQuery } from "@/api/work/work";
import { askedWords, figuresOf, neededForm, verdictOf } from "@/lib/facts/portabilityFacts";
import { Ago } from "@/components/basics/Ago";
import { CopyBlock } from "@/components/basics/CopyBlock";
import { Prose } from "@/components/basics/Prose";
import { Loaded } from "@/components/page/Loaded";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { WorkProgress } from "@/components/work/WorkProgress";
import type { Adapter, Portability as Report, RuntimeReport } from "@/types/api";

const TONES = { good: "text-good", warn: "text-warn", bad: "text-bad", muted: "text-muted" } as const;

/** Which runtimes load the adapter, in which form, and whether they answer alike. */
export function Portability({ adapter }: { adapter: Adapter }) {
  return (
    <Section title="Where does it load?">
      <Loaded query={useQuery(workQuery("measurement", adapter.id))}>{(report) => <Details report={report} />}</Loaded>
    </Section>
  );
}

function Details({ report }: { report: Report }) {
  return (
    <>
      <Measurement report={report} />
      <DataTable columns={COLUMNS} rows={report.runtimes} keyOf={({ runtime }) => runtime} region={wideRegion("Runtimes")} />
      <div className="grid gap-2 p-4">
        {report.runtimes.map((one) => (
          <StartLine key={one.runtime} report={one} />
        ))}
      </div>
    </>
  );
}

function Measurement({ report }: { report: Report }) {
  const { start, end } = useWork("measurement", report.adapter_id);
  const mayWrite = useMayWrite();
  const { measurement, measured_at, prompts } = report;
  const runs = isUnderWay(report);
  const error = start.error ?? end.error;
  return (
    <div className="grid gap-2 px-4 pb-3">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <p className="text-muted">
          {measured_at === null || !prompts ? (
            "By the runtimes’ documentation. Nothing has been measured yet."
          ) : (
            <>
              Measured <Ago unix={measured_at} /> {askedWords(prompts)}; the rest follows from documentation.
            </>
          )}
        </p>
        {mayWrite && (
          <button
            type="button"
            className="button"
            disabled={start.isPending || end.isPending}
            onClick={() => (runs ? end.mutate(report) : start.mutate(undefined))}
          >
            {runs ? "Cancel" : measured_at === null ? "Measure" : "Measure again"}
          </button>
        )}
      </div>
      {measurement && runs && <WorkProgress work={measurement} name="the measurement" />}
      {measurement?.error && (
        <p className="text-bad">
          <Prose text={measurement.error.message} />
        </p>
      )}
      {error && <Failure asked error={error} />}
    </div>
  );
}

const COLUMNS: Column<RuntimeReport>[] = [
  {
    name: "Runtime",
    isRowHead: true,
    cell: ({ name, version }) => (
      <>
        <span className="block">{name}</span>
        {version && <span className="fact block">{version}</span>}
      </>
    ),
  },
  {
    name: "Result",
    cell: (report) => {
      const { words, tone } = verdictOf(report);
      return (
        <>
          <span className={`block ${TONES[tone]}`}>{words}</span>
          <span className="fact block">{figuresOf(report)}</span>
        </>
      );
    },
  },
  { name: "Loads", cell: neededForm },
  {
    name: "Why",
    cell: ({ reason, sources, measured }) => (
      <>
        <Prose text={reason} />
        {!measured &&
          sources.map((source, at) => (
            <a key={source} href={source} className="link ml-1 underline" target="_blank" rel="noreferrer">
              source {at + 1}
            </a>
          ))}
      </>
    ),
  },
];

function StartLine({ report: { name, start_line } }: { report: RuntimeReport }) {
  if (!start_line) return null;
  return (
    <details>
      <summary className="link">Start it in {name}</summary>
      <div className="pt-2">
        <CopyBlock label={`Start in ${name}`} code={start_line} />
      </div>
    </details>
  );
}
