import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";

import { adapterContentPath, adapterQuery, useDeleteAdapter } from "@/api/project/adapters";
import { useTitle } from "@/lib/browser/useTitle";
import { Confirm } from "@/components/dialogs/Confirm";
import { DetailHead } from "@/components/page/DetailHead";
import { DetailPage } from "@/components/page/DetailPage";
import { Reading } from "@/components/page/Reading";
import { ReadsOnly } from "@/components/page/ReadsOnly";
import type { Adapter } from "@/types/api";

import { AdapterFiles } from "./AdapterFiles";
import { Exports } from "./Exports";
import { Family } from "./Family";
import { JudgedAdapter } from "./JudgedAdapter";
import { Lineage } from "./Lineage";
import { Portability } from "./Portability";
import { Ranks } from "./Ranks";
import { useIsAdapterRead } from "./useIsAdapterRead";
import { UseIt } from "./UseIt";

const route = getRouteApi("/adapters/$adapterId");
const LIST = { to: "/adapters", name: "Adapters" } as const;

export function AdapterPage() {
  const { adapterId } = route.useParams();
  return (
    <DetailPage kind="adapter" id={adapterId} list={LIST} query={useQuery(adapterQuery(adapterId))}>
      {(adapter) => <Details adapter={adapter} />}
    </DetailPage>
  );
}

function Details({ adapter }: { adapter: Adapter }) {
  useTitle(adapter.model);
  const isRead = useIsAdapterRead(adapter);
  return (
    <>
      <DetailHead
        list={LIST}
        title={adapter.model}
        download={{ href: adapterContentPath(adapter.id), label: "Download", isPrimary: true }}
        actions={
          <>
            <Link to="/playground" search={{ models: `${adapter.base_model},${adapter.model}`, ...(adapter.job_id && { job: adapter.job_id }) }} className="button">
              Try it
            </Link>
            {adapter.type === "lora" && (
              <Link to="/compose" search={{ adapters: adapter.id }} className="button">
                Compose
              </Link>
            )}
            {adapter.job_id && !adapter.job_deleted && (
              <Link to="/new" search={{ from: adapter.job_id }} className="button">
                Train another like it
              </Link>
            )}
          </>
        }
        deletion={(onClose) => <DeleteAdapter adapter={adapter} onClose={onClose} />}
      >
        <ReadsOnly />
      </DetailHead>
      {isRead ? <Sections adapter={adapter} /> : <Reading />}
    </>
  );
}

function Sections({ adapter }: { adapter: Adapter }) {
  // A link to a section was followed before the section was there
  useEffect(() => document.getElementById(location.hash.slice(1))?.scrollIntoView(), []);
  return (
    <div className="grid items-start gap-4 xl:grid-cols-2">
      <div className="grid min-w-0 gap-4">
        <JudgedAdapter adapter={adapter} />
        <Family adapter={adapter} />
        <Lineage adapter={adapter} />
        <Ranks adapter={adapter} />
      </div>
      <div className="grid min-w-0 gap-4">
        <UseIt adapter={adapter} />
        <Portability adapter={adapter} />
        <Exports adapter={adapter} />
        <AdapterFiles adapter={adapter} />
      </div>
    </div>
  );
}

function DeleteAdapter({ adapter, onClose }: { adapter: Adapter; onClose: () => void }) {
  const deleting = useDeleteAdapter();
  const navigate = useNavigate();
  return (
    <Confirm
      title="Delete this adapter?"
      action="Delete adapter"
      mutation={deleting}
      onConfirm={() => deleting.mutate(adapter.id, { onSuccess: () => void navigate({ to: "/adapters" }) })}
      onClose={onClose}
    >
      <p>
        <strong>{adapter.model}</strong> and its files will be deleted for good, also for the projects that it is shared
        with.
        {adapter.job_id && !adapter.job_deleted && " The job’s record stays."}
      </p>
    </Confirm>
  );
}
