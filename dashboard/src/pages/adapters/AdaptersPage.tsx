import { Link } from "@tanstack/react-router";

import { adapterContentPath, useAdapters } from "@/api/project/adapters";
import { totalBytes } from "@/lib/facts/adapterFacts";
import { adapterName } from "@/lib/facts/jobFacts";
import { bytes } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { CutName } from "@/components/basics/CutName";
import { DownloadLink } from "@/components/basics/DownloadLink";
import { PageTitle } from "@/components/page/PageTitle";
import { actionsColumn, type Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { Adapter } from "@/types/api";

export function AdaptersPage() {
  const adapters = useAdapters();
  return (
    <>
      <PageTitle title="Adapters">
        <Link to="/compose" className="button ml-auto">
          Compose
        </Link>
      </PageTitle>
      <div className="card">
        <PagedList list={adapters} empty="No adapter yet. Each job that succeeds creates one.">
          {(items) => (
            <DataTable
              fixed
              columns={COLUMNS}
              rows={items}
              keyOf={({ id }) => id}
              rowClasses={() => "hover:bg-sunken"}
            />
          )}
        </PagedList>
      </div>
    </>
  );
}

const COLUMNS: readonly Column<Adapter>[] = [
  {
    name: "Model",
    cell: ({ id, model }) => (
      <Link
        to="/adapters/$adapterId"
        params={{ adapterId: id }}
        className="link block font-medium"
      >
        <CutName name={model || id} />
      </Link>
    ),
    below: ({ type, base_model, created_at }) => (
      <>
        {adapterName(type)} · {base_model} · <Ago unix={created_at} />
      </>
    ),
  },
  { name: "Method", shownFrom: "md", width: "w-28", className: "truncate", cell: ({ type }) => adapterName(type) },
  { name: "Base model", shownFrom: "lg", width: "w-52", cell: ({ base_model }) => <CutName name={base_model} /> },
  {
    name: "Size",
    align: "right",
    width: "w-20",
    className: "whitespace-nowrap",
    cell: (adapter) => bytes(totalBytes(adapter)),
  },
  {
    name: "Created",
    align: "right",
    shownFrom: "md",
    width: "w-32",
    className: "whitespace-nowrap",
    cell: ({ created_at }) => <Ago unix={created_at} />,
  },
  actionsColumn(({ id, model }) => <DownloadLink href={adapterContentPath(id)} name={model} />, {
    shownFrom: "md",
    width: "w-32",
  }),
];
