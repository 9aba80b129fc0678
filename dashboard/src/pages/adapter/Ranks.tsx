import { useQuery } from "@tanstack/react-query";

import { cutAdapterPath, ranksQuery } from "@/api/project/adapters";
import { significant } from "@/lib/text/format";
import { DownloadLink } from "@/components/basics/DownloadLink";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { Adapter, MeasuredRank } from "@/types/api";

/** The ranks that a DyLoRA adapter can be cut to, each with its loss. Any other adapter has no such section. */
export function Ranks({ adapter }: { adapter: Adapter }) {
  const { data, failureReason } = useQuery(ranksQuery(adapter.id));
  if (failureReason && !data) return <Failure error={failureReason} />;
  if (!data?.length) return null;
  return (
    <Section title="Ranks">
      <p className="px-4 pb-2 text-muted">
        The adapter can be cut to a smaller rank. Each download is a plain LoRA adapter of that rank.
      </p>
      <DataTable columns={columnsOf(adapter)} rows={data} keyOf={({ rank }) => rank} />
    </Section>
  );
}

function columnsOf({ id }: Adapter): Column<MeasuredRank>[] {
  return [
    { name: "Rank", cell: ({ rank }) => rank },
    { name: "Validation loss", align: "right", cell: ({ full_valid_loss }) => significant(full_valid_loss) },
    {
      name: "Token accuracy",
      align: "right",
      cell: ({ full_valid_mean_token_accuracy }) => significant(full_valid_mean_token_accuracy),
    },
    {
      name: "Download",
      hiddenHead: true,
      align: "right",
      cell: ({ rank }) => <DownloadLink href={cutAdapterPath(id, rank)} name={`the adapter cut to rank ${rank}`} />,
    },
  ];
}
