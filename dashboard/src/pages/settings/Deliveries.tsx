import { useDeliveries, useRedeliver } from "@/api/project/settings";
import { deliveryWords, eventName } from "@/lib/facts/webhookFacts";
import { Ago } from "@/components/basics/Ago";
import { Prose } from "@/components/basics/Prose";
import { Failure } from "@/components/page/Notice";
import { actionsColumn, type Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { Delivery, Endpoint } from "@/types/api";

export function Deliveries({ endpoint }: { endpoint: Endpoint }) {
  const deliveries = useDeliveries(endpoint.id);
  const redeliver = useRedeliver(endpoint.id);
  const action = actionsColumn<Delivery>(
    ({ id }) => (
      <button type="button" className="link" disabled={redeliver.isPending} onClick={() => redeliver.mutate(id)}>
        Send again
      </button>
    ),
    { className: "whitespace-nowrap" },
  );
  return (
    <div className="rounded border border-line">
      {redeliver.error && <Failure asked error={redeliver.error} />}
      <PagedList list={deliveries} empty="No delivery yet.">
        {(items) => <DataTable columns={[...COLUMNS, action]} rows={items} keyOf={({ id }) => id} />}
      </PagedList>
    </div>
  );
}

const TONES: Record<string, string> = { delivered: "text-good", failed: "text-bad" };

const COLUMNS: readonly Column<Delivery>[] = [
  { name: "Event", cell: ({ event_type }) => eventName(event_type) },
  {
    name: "Outcome",
    className: "break-words",
    cell: (delivery) => <span className={TONES[delivery.status] ?? "text-muted"}><Prose text={deliveryWords(delivery)} /></span>,
    below: ({ created_at }) => <Ago unix={created_at} />,
  },
  {
    name: "Created",
    align: "right",
    shownFrom: "md",
    className: "fact whitespace-nowrap",
    cell: ({ created_at }) => <Ago unix={created_at} />,
  },
];
