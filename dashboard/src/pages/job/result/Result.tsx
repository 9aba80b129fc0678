import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { adapterQuery, cardQuery } from "@/api/project/adapters";
import { useMayWrite } from "@/api/project/session";
import type { Series } from "@/lib/charts/series";
import { snippetsOf } from "@/lib/facts/adapterFacts";
import { validationChange } from "@/lib/facts/jobFacts";
import { beginningOf, countMatches, type Evaluation } from "@/lib/facts/samples";
import { significant } from "@/lib/text/format";
import { CopyBlock } from "@/components/basics/CopyBlock";
import { Fold } from "@/components/page/Fold";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { Adapter, Job } from "@/types/api";

interface ResultProps {
  job: Job;
  series: Series;
  evaluations: readonly Evaluation[];
}

/** What a job that succeeded has made: how far it came, what to do with it next, and how to load it. */
export function Result({ job, series, evaluations }: ResultProps) {
  if (job.fine_tuned_model === null) return null;
  return (
    <Section title="Result">
      <dl className="flex flex-wrap gap-x-10 gap-y-3 px-4 pb-4">
        {resultFacts(job, series, evaluations).map(([name, value]) => (
          <div key={name} className="min-w-0">
            <dt className="fact">{name}</dt>
            <dd className="text-lg font-semibold break-all">{value}</dd>
          </div>
        ))}
      </dl>
      <Next job={job} model={job.fine_tuned_model} />
      {job.adapter_id && <LoadIt adapterId={job.adapter_id} />}
    </Section>
  );
}

function resultFacts(job: Job, series: Series, evaluations: readonly Evaluation[]): [string, string][] {
  const change = validationChange(series);
  const [before, after] = [beginningOf(evaluations), evaluations.at(-1)];
  const facts: [string, string][] = [];
  if (change) facts.push([`${change.title}, first and last`, `${significant(change.from)} → ${significant(change.to)}`]);
  if (before && after && before !== after && countMatches(after).of) {
    const [was, is] = [countMatches(before), countMatches(after)];
    facts.push(["Answers as expected, before and after", `${was.right} of ${was.of} → ${is.right} of ${is.of}`]);
  }
  return [...facts, ["Model", job.fine_tuned_model ?? ""]];
}

function Next({ job, model }: { job: Job; model: string }) {
  const mayWrite = useMayWrite();
  return (
    <div className="flex flex-wrap items-center gap-2 border-t border-line px-4 py-3">
      <h3 className="mr-2">What next</h3>
      <Link to="/playground" search={{ models: `${job.model},${model}`, job: job.id }} className="button">
        Chat with it
      </Link>
      <a href="#evaluation" className="button">
        Evaluate it
      </a>
      {job.adapter_id && (
        <Link to="/adapters/$adapterId" params={{ adapterId: job.adapter_id }} hash="exports" className="button">
          Export it
        </Link>
      )}
      {mayWrite && (
        <Link to="/new" search={{ model, ...filesOf(job) }} className="button">
          Train it further
        </Link>
      )}
    </div>
  );
}

const filesOf = ({ training_file, validation_file }: Job) => ({ training_file, ...(validation_file && { validation_file }) });

/** The code from the model card, folded away: most readers chat first. */
function LoadIt({ adapterId }: { adapterId: string }) {
  return (
    <Fold summary="Load it in PEFT or vLLM" className="font-semibold">
      <Snippets adapterId={adapterId} />
    </Fold>
  );
}

function Snippets({ adapterId }: { adapterId: string }) {
  return (
    <Loaded query={useQuery(adapterQuery(adapterId))}>{(adapter) => <SnippetsOf adapter={adapter} />}</Loaded>
  );
}

function SnippetsOf({ adapter }: { adapter: Adapter }) {
  return (
    <div className="grid min-w-0 gap-4 px-4 pb-4">
      <Loaded query={useQuery(cardQuery(adapter))}>
        {(card) => snippetsOf(card).map(({ label, code }) => <CopyBlock key={label} label={label} code={code} />)}
      </Loaded>
      <p className="fact">
        <code className="font-mono">path/to/this/folder</code> is the folder where you unpacked the download.
      </p>
    </div>
  );
}
