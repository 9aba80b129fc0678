import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { sessionQuery } from "@/api/project/session";
import { Failure, Notice } from "@/components/page/Notice";
import { PageTitle } from "@/components/page/PageTitle";
import { Reading } from "@/components/page/Reading";

import { JobForm } from "./JobForm";
import { useInitialDraft } from "./useInitialDraft";

const route = getRouteApi("/new");

export function NewJobPage() {
  const search = route.useSearch();
  const { data: session } = useQuery(sessionQuery);
  const { offer, filled, isSweep, failure } = useInitialDraft(search);
  const name = `${session?.project.id} ${JSON.stringify(search)}`;

  return (
    <div className="mx-auto grid w-full grid-cols-1 max-w-7xl gap-4">
      <PageTitle title="New job">
        {search.from && (
          <p className="text-muted">
            with the resolved settings of{" "}
            <Link to="/jobs/$jobId" params={{ jobId: search.from }} className="link font-mono text-xs break-all">
              {search.from}
            </Link>
          </p>
        )}
      </PageTitle>
      {failure ? <Failure error={failure} /> : !filled && <Reading />}
      {isSweep && (
        <Notice tone="warn">
          {search.won ? (
            "That job was a sweep. This job trains the winner's values. Without a winner, it has the values that all candidates shared."
          ) : (
            <>
              That job was a sweep. This job is a sweep of the same values.{" "}
              <Link to="/new" search={{ from: search.from, won: true }} className="link">
                Train only the winner
              </Link>
            </>
          )}
        </Notice>
      )}
      {filled && filled.leftOut.length > 0 && <LeftOut leftOut={filled.leftOut} />}
      {offer && filled && <JobForm key={name} name={name} offer={offer} initial={filled.draft} />}
    </div>
  );
}

function LeftOut({ leftOut }: { leftOut: readonly [path: string, value: unknown][] }) {
  return (
    <Notice tone="warn">
      <p>Left out, because this service does not accept it now:</p>
      <ul className="font-mono text-xs">
        {leftOut.map(([path, value]) => (
          <li key={path}>
            {path} = {JSON.stringify(value)}
          </li>
        ))}
      </ul>
    </Notice>
  );
}
