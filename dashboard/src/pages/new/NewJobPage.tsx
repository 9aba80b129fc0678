import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { sessionQuery } from "@/api/project/session";
import { useTitle } from "@/lib/browser/useTitle";
import { Failure, Notice } from "@/parts/page/Notice";
import { Reading } from "@/parts/page/Reading";

import { JobForm } from "./JobForm";
import { useBeginning } from "./useInitialDraft";

const route = getRouteApi("/new");

export function NewJobPage() {
  const search = route.useSearch();
  const { data: session } = useQuery(sessionQuery);
  const { offer, filled, isSweep, failure } = useBeginning(search);
  const name = `${session?.project.id} ${JSON.stringify(search)}`;
  useTitle("New job");
  return (
    <div className="mx-auto grid w-full grid-cols-1 max-w-7xl gap-4">
      <div className="flex flex-wrap items-baseline gap-x-3">
        <h1 className="text-lg font-semibold">New job</h1>
        {search.from && (
          <p className="text-muted">
            like{" "}
            <Link to="/jobs/$jobId" params={{ jobId: search.from }} className="link font-mono text-xs break-all">
              {search.from}
            </Link>
            , as its settings were resolved
          </p>
        )}
      </div>
      {failure ? <Failure error={failure} /> : !filled && <Reading />}
      {isSweep && (
        <Notice tone="warn">
          {search.won ? (
            "That job was a sweep. This one trains what won, where one has, else what all its candidates had."
          ) : (
            <>
              That job was a sweep, and so is this one, of the same values.{" "}
              <Link to="/new" search={{ from: search.from, won: true }} className="link">
                Train what won alone
              </Link>
            </>
          )}
        </Notice>
      )}
      {filled && filled.left.length > 0 && <Left left={filled.left} />}
      {offer && filled && <JobForm key={name} name={name} offer={offer} initial={filled.draft} />}
    </div>
  );
}

function Left({ left }: { left: readonly [string, unknown][] }) {
  return (
    <Notice tone="warn">
      <p>Left out, since this service does not take it now:</p>
      <ul className="font-mono text-xs">
        {left.map(([path, value]) => (
          <li key={path}>
            {path} = {JSON.stringify(value)}
          </li>
        ))}
      </ul>
    </Notice>
  );
}
