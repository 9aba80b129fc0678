import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { useDeleteAdapter } from "@/api/project/adapters";
import { adapterContentPath, adapterQuery } from "@/api/details";
import { isNotFound } from "@/api/failures";
import { useMayWrite } from "@/api/project/session";
import type { Adapter } from "@/api/types";
import { useTitle } from "@/lib/browser/useTitle";
import { Confirm } from "@/parts/dialogs/Confirm";
import { Gone } from "@/parts/page/Gone";
import { Icon } from "@/parts/basics/Icon";
import { Failure } from "@/parts/page/Notice";
import { PageHead } from "@/parts/page/DetailHead";
import { Reading } from "@/parts/page/Reading";
import { ReadsOnly } from "@/parts/page/ReadsOnly";

import { AdapterFiles } from "./AdapterFiles";
import { Lineage } from "./Lineage";
import { LoadIt } from "./LoadingCode";
import { Ranks } from "./Ranks";

const route = getRouteApi("/adapters/$adapterId");

export function AdapterPage() {
  const { adapterId } = route.useParams();
  const { data: adapter, error, failureReason } = useQuery(adapterQuery(adapterId));
  if (isNotFound(error)) return <Gone what="adapter" id={adapterId} to="/adapters" all="All adapters" />;
  return (
    <>
      {(error ?? failureReason) && <Failure error={error ?? failureReason} />}
      {adapter ? <Details key={adapter.id} adapter={adapter} /> : !failureReason && <Reading />}
    </>
  );
}

function Details({ adapter }: { adapter: Adapter }) {
  useTitle(adapter.model);
  return (
    <>
      <Head adapter={adapter} />
      <div className="grid items-start gap-4 xl:grid-cols-2">
        <div className="grid gap-4">
          <Lineage adapter={adapter} />
          <Ranks adapter={adapter} />
        </div>
        <div className="grid gap-4">
          <LoadIt adapter={adapter} />
          <AdapterFiles adapter={adapter} />
        </div>
      </div>
    </>
  );
}

function Head({ adapter }: { adapter: Adapter }) {
  const mayWrite = useMayWrite();
  const [deleting, setDeleting] = useState(false);
  return (
    <PageHead
      to="/adapters"
      list="Adapters"
      title={adapter.model}
      actions={
        <>
          <a href={adapterContentPath(adapter.id)} download className="button button-primary">
            <Icon name="download" />
            Download
          </a>
          {mayWrite && !adapter.job_deleted && (
            <Link to="/new" search={{ from: adapter.job_id }} className="button">
              Train another like it
            </Link>
          )}
          {mayWrite && (
            <button type="button" className="button button-danger" onClick={() => setDeleting(true)}>
              Delete
            </button>
          )}
        </>
      }
    >
      <ReadsOnly />
      {deleting && <DeleteAdapter adapter={adapter} onClose={() => setDeleting(false)} />}
    </PageHead>
  );
}

function DeleteAdapter({ adapter, onClose }: { adapter: Adapter; onClose: () => void }) {
  const deleting = useDeleteAdapter();
  const navigate = useNavigate();
  return (
    <Confirm
      title="Delete this adapter?"
      action="Delete adapter"
      doing={deleting}
      onConfirm={() => deleting.mutate(adapter.id, { onSuccess: () => void navigate({ to: "/adapters" }) })}
      onClose={onClose}
    >
      <p>
        <strong>{adapter.model}</strong> and its files are gone for good, also for projects that it is shared with.
        {!adapter.job_deleted && " The job’s record stays."}
      </p>
    </Confirm>
  );
}
