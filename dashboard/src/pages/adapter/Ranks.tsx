import { useQuery } from "@tanstack/react-query";

import { cutAdapterPath, ranksQuery } from "@/api/project/adapters";
import type { Adapter, MeasuredRank } from "@/api/types";
import { significant } from "@/lib/text/format";
import { Download } from "@/parts/basics/DownloadLink";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";

/** What a DyLoRA adapter is worth at each rank that it can be cut to; nothing for any other. */
export function Ranks({ adapter }: { adapter: Adapter }) {
  const { data, failureReason } = useQuery(ranksQuery(adapter.id));
  if (failureReason && !data) return <Failure error={failureReason} />;
  if (!data?.length) return null;
  return (
    <Section title="Ranks">
      <p className="px-4 pb-2 text-muted">
        Its first ranks are adapters of their own: each download is a plain LoRA of so many ranks.
      </p>
      <table className="data-table">
        <thead>
          <tr>
            <th scope="col">Rank</th>
            <th scope="col" className="number">
              Validation loss
            </th>
            <th scope="col" className="number">
              Token accuracy
            </th>
            <th scope="col">
              <span className="sr-only">Download</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {data.map((measured) => (
            <Rank key={measured.rank} adapter={adapter} measured={measured} />
          ))}
        </tbody>
      </table>
    </Section>
  );
}

function Rank({ adapter, measured }: { adapter: Adapter; measured: MeasuredRank }) {
  const { rank, full_valid_loss, full_valid_mean_token_accuracy } = measured;
  return (
    <tr>
      <td>{rank}</td>
      <td className="number">{significant(full_valid_loss)}</td>
      <td className="number">{significant(full_valid_mean_token_accuracy)}</td>
      <td className="number">
        <Download href={cutAdapterPath(adapter.id, rank)} name={`the adapter cut to rank ${rank}`} />
      </td>
    </tr>
  );
}
