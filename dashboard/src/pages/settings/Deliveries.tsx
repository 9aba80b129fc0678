import { useDeliveries, useRedeliver } from "@/api/project/settings";
import type { Endpoint } from "@/api/types";
import { deliveryWords, eventName } from "@/lib/facts/webhookFacts";
import { Ago } from "@/parts/basics/Ago";
import { Failure } from "@/parts/page/Notice";
import { PagedList } from "@/parts/tables/PagedList";

const TONES: Record<string, string> = { delivered: "text-good", failed: "text-bad" };

export function Deliveries({ endpoint }: { endpoint: Endpoint }) {
  const deliveries = useDeliveries(endpoint.id);
  const redeliver = useRedeliver(endpoint.id);
  return (
    <div className="rounded border border-line">
      {redeliver.error && <Failure asked error={redeliver.error} />}
      <PagedList list={deliveries} empty="Nothing was sent yet.">
        <ul className="divide-y divide-line">
          {deliveries.items?.map((delivery) => (
            <li key={delivery.id} className="flex flex-wrap items-center gap-x-3 gap-y-1 px-3 py-1.5">
              <span className="w-24 max-sm:flex-1">{eventName(delivery.event_type)}</span>
              <span className={`flex-1 break-words max-sm:order-last max-sm:w-full max-sm:flex-none ${TONES[delivery.status] ?? "text-muted"}`}>
                {deliveryWords(delivery)}
              </span>
              <span className="fact">
                <Ago unix={delivery.created_at} />
              </span>
              <button
                type="button"
                className="link"
                disabled={redeliver.isPending}
                onClick={() => redeliver.mutate(delivery.id)}
              >
                Send again
              </button>
            </li>
          ))}
        </ul>
      </PagedList>
    </div>
  );
}
