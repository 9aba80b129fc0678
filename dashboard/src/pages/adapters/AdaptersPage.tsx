import { Link } from "@tanstack/react-router";

import { useAdapters } from "@/api/project/adapters";
import { adapterContentPath } from "@/api/details";
import type { Adapter } from "@/api/types";
import { totalBytes } from "@/lib/facts/adapterFacts";
import { bytes } from "@/lib/text/format";
import { useTitle } from "@/lib/browser/useTitle";
import { Ago } from "@/parts/basics/Ago";
import { Download } from "@/parts/basics/DownloadLink";
import { PagedList } from "@/parts/tables/PagedList";

export function AdaptersPage() {
  useTitle("Adapters");
  const adapters = useAdapters();
  return (
    <>
      <h1 className="text-lg font-semibold">Adapters</h1>
      <div className="card">
        <PagedList list={adapters} empty="No adapter yet: each job that succeeds leaves one.">
          <Table adapters={adapters.items ?? []} />
        </PagedList>
      </div>
    </>
  );
}

function Table({ adapters }: { adapters: readonly Adapter[] }) {
  return (
    <table className="data-table table-fixed">
      <thead>
        <tr>
          <th scope="col">Model</th>
          <th scope="col" className="hidden w-28 md:table-cell">
            Method
          </th>
          <th scope="col" className="hidden w-52 lg:table-cell">
            Base model
          </th>
          <th scope="col" className="number w-20">
            Size
          </th>
          <th scope="col" className="number hidden w-32 md:table-cell">
            Created
          </th>
          <th scope="col" className="hidden w-32 md:table-cell">
            <span className="sr-only">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {adapters.map((adapter) => (
          <tr key={adapter.id} className="hover:bg-sunken">
            <td>
              <Link
                to="/adapters/$adapterId"
                params={{ adapterId: adapter.id }}
                className="link block truncate font-medium"
                title={adapter.model}
              >
                {adapter.model || adapter.id}
              </Link>
              <span className="fact block truncate md:hidden">
                {adapter.type} · {adapter.base_model} · <Ago unix={adapter.created_at} />
              </span>
            </td>
            <td className="hidden truncate md:table-cell">{adapter.type}</td>
            <td className="hidden truncate lg:table-cell">{adapter.base_model}</td>
            <td className="number whitespace-nowrap">{bytes(totalBytes(adapter))}</td>
            <td className="number hidden whitespace-nowrap md:table-cell">
              <Ago unix={adapter.created_at} />
            </td>
            <td className="number hidden md:table-cell">
              <Download href={adapterContentPath(adapter.id)} name={adapter.model} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
