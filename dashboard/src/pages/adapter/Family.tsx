import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { aliasesQuery, useComposed, useDescendants } from "@/api/project/adapters";
import { useExports } from "@/api/project/exports";
import type { Adapter, Descendant } from "@/api/types";
import { formatWords } from "@/lib/facts/exportFacts";
import { significant } from "@/lib/text/format";
import { StatusMark } from "@/parts/basics/StatusMark";
import { Section } from "@/parts/page/Section";
import { PagedList } from "@/parts/tables/PagedList";

type Ancestor = Adapter["lineage"][number];

/** What came before the adapter and what came after it: a nested list, from the base model to the jobs that continue. */
export function Family({ adapter }: { adapter: Adapter }) {
  const descendants = useDescendants(adapter.id);
  const after = (
    <>
      <Aliases model={adapter.model} />
      <ExportedAs adapterId={adapter.id} />
      <ComposedInto adapterId={adapter.id} />
      <PagedList list={descendants} empty="No job continues from it.">
        {(jobs) => (
          <Generation label="Jobs that continue from it">
            {jobs.map((job) => (
              <Member key={job.id}>
                <Child job={job} />
              </Member>
            ))}
          </Generation>
        )}
      </PagedList>
    </>
  );
  return (
    <Section title="Before and after">
      <div className="px-4 pb-4">
        <Generation label="From the base model to this adapter">
          <Member name={<span className="break-all">{adapter.base_model}</span>} note="base model">
            <Before ancestors={adapter.lineage.toReversed()}>
              <Generation label="This adapter">
                <Member name={<strong aria-current="true" className="break-all">{adapter.model}</strong>} note="this adapter">
                  {after}
                </Member>
              </Generation>
            </Before>
          </Member>
        </Generation>
      </div>
    </Section>
  );
}

/** The ancestors inside each other, the oldest first. The parts of a composed adapter stand beside each other. */
function Before({ ancestors, children }: { ancestors: readonly Ancestor[]; children: ReactNode }): ReactNode {
  const [first, ...rest] = ancestors;
  if (!first) return children;
  if (weightOf(first) !== null) {
    return (
      <>
        <Generation label="Composed of">
          {ancestors.map((part) => (
            <Member key={part.model} name={<AncestorLink ancestor={part} />} note={`× ${significant(weightOf(part))}`} />
          ))}
        </Generation>
        {children}
      </>
    );
  }
  return (
    <Generation label="Continued from">
      <Member name={<AncestorLink ancestor={first} />}>
        <Before ancestors={rest}>{children}</Before>
      </Member>
    </Generation>
  );
}

/** The weight of a part of a composed adapter; null for a model from which a job has continued. */
function weightOf(ancestor: Ancestor & { weight?: number | null }): number | null {
  return ancestor.weight ?? null;
}

function AncestorLink({ ancestor: { model, adapter_id } }: { ancestor: Ancestor }) {
  if (!adapter_id) return <span className="break-all">{model}</span>;
  return (
    <Link to="/adapters/$adapterId" params={{ adapterId: adapter_id }} className="link break-all">
      {model}
    </Link>
  );
}

function Child({ job }: { job: Descendant }) {
  return (
    <span className="flex flex-wrap items-center gap-x-3">
      {job.adapter_id ? (
        <Link to="/adapters/$adapterId" params={{ adapterId: job.adapter_id }} className="link break-all">
          {job.model}
        </Link>
      ) : (
        <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="link font-mono text-xs break-all">
          {job.id}
        </Link>
      )}
      <StatusMark status={job.status} />
    </span>
  );
}

function Aliases({ model }: { model: string }) {
  const { data: names = [] } = useQuery(aliasesQuery(model));
  if (!names.length) return null;
  return (
    <p className="py-1">
      <span className="text-muted">Aliases that lead here: </span>
      {names.join(", ")}
    </p>
  );
}

/** The list is the one of the section Exports, so nothing more is asked for. */
function ExportedAs({ adapterId }: { adapterId: string }) {
  const made = (useExports(adapterId).items ?? []).filter(({ status }) => status === "succeeded");
  if (!made.length) return null;
  return (
    <p className="py-1">
      <span className="text-muted">Exported as: </span>
      {[...new Set(made.map(formatWords))].join(", ")}
    </p>
  );
}

function ComposedInto({ adapterId }: { adapterId: string }) {
  const { items } = useComposed(adapterId);
  if (!items?.length) return null;
  return (
    <Generation label="Composed into">
      {items.map(({ id, model }) => (
        <Member
          key={id}
          note="composed"
          name={
            <Link to="/adapters/$adapterId" params={{ adapterId: id }} className="link break-all">
              {model}
            </Link>
          }
        />
      ))}
    </Generation>
  );
}

function Generation({ label, children }: { label: string; children: ReactNode }) {
  return (
    <ul aria-label={label} className="grid gap-1 border-l border-line pl-3">
      {children}
    </ul>
  );
}

interface MemberProps {
  name?: ReactNode;
  note?: string;
  children?: ReactNode;
}

function Member({ name, note, children }: MemberProps) {
  return (
    <li className="grid gap-1">
      {name && (
        <span>
          {name} {note && <span className="fact">{note}</span>}
        </span>
      )}
      {children}
    </li>
  );
}
