import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";

import { evalQuery, useDeleteEval } from "@/api/evals/evals";
import { useWorkList } from "@/api/work/work";
import type { EvalSearch } from "@/lib/addresses/evalSearch";
import { useTitle } from "@/lib/browser/useTitle";
import { chosenRuns, missingRuns } from "@/lib/evals/chosenRuns";
import { Confirm } from "@/components/dialogs/Confirm";
import { DetailHead } from "@/components/page/DetailHead";
import { DetailPage } from "@/components/page/DetailPage";
import { Notice } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import { PagedList } from "@/components/tables/PagedList";
import type { Eval } from "@/types/api";

import { Compared } from "./Compared";
import { Criteria } from "./Criteria";
import { FailedRows } from "./FailedRows";
import { RunTable } from "./RunTable";

const route = getRouteApi("/evals/$evalId");
const LIST = { to: "/evals", name: "Evals" } as const;

export function EvalPage() {
  const { evalId } = route.useParams();
  return (
    <DetailPage kind="eval" id={evalId} list={LIST} query={useQuery(evalQuery(evalId))}>
      {(one) => <Details judging={one} />}
    </DetailPage>
  );
}

/** The address holds the two runs that are compared, and which of the changed rows are shown. */
function Details({ judging }: { judging: Eval }) {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const runs = useWorkList("run", judging.id);
  useTitle(judging.name);
  const chosen = chosenRuns(runs.items ?? [], search);
  const { base, tuned } = chosen;
  const change = (changed: EvalSearch) =>
    void navigate({ search: (before) => ({ ...before, ...changed }), replace: true, resetScroll: false });
  return (
    <>
      <DetailHead
        list={LIST}
        title={judging.name}
        deletion={(onClose) => <DeleteEval judging={judging} onClose={onClose} />}
      >
        <p className="flex flex-wrap gap-x-4 gap-y-1 text-muted">
          <span className="font-mono text-xs break-all">{judging.id}</span>
          {judging.job_id && (
            <Link to="/jobs/$jobId" params={{ jobId: judging.job_id }} className="link break-all">
              of {judging.job_id}
            </Link>
          )}
        </p>
      </DetailHead>
      {runs.items && <MissingRuns ids={missingRuns(runs.items, search)} />}
      {base && tuned && (
        <Compared evalId={judging.id} base={base} tuned={tuned} search={search} onChange={change} />
      )}
      <Section title="Runs">
        <PagedList list={runs} empty="No run yet. Each run judges a model on rows. The command line and the API make runs.">
          {(items) => <RunTable criteria={judging.testing_criteria} runs={items} chosen={chosen} onChoose={change} />}
        </PagedList>
      </Section>
      {[base, tuned].map((run) => run && Boolean(run.result_counts.errored) && <FailedRows key={run.id} run={run} />)}
      <Criteria criteria={judging.testing_criteria} />
    </>
  );
}

/** Says which runs of the address are not compared. */
function MissingRuns({ ids }: { ids: readonly string[] }) {
  if (!ids.length) return null;
  return (
    <Notice tone="warn">
      The address names <span className="font-mono break-all">{ids.join(" and ")}</span>, which is not among the completed
      runs below. It may have been deleted, or be older than these. The comparison takes other runs.
    </Notice>
  );
}

function DeleteEval({ judging, onClose }: { judging: Eval; onClose: () => void }) {
  const deleting = useDeleteEval();
  const navigate = useNavigate();
  return (
    <Confirm
      title="Delete this eval?"
      action="Delete eval"
      mutation={deleting}
      onConfirm={() => deleting.mutate(judging.id, { onSuccess: () => void navigate({ to: "/evals" }) })}
      onClose={onClose}
    >
      <p>
        <strong>{judging.name}</strong> will be deleted for good, with all of its runs and what they found. Runs that
        have not ended are cancelled.
      </p>
    </Confirm>
  );
}
