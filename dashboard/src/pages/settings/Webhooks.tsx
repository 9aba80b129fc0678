import { useState } from "react";

import { EVENT_TYPES, useCreateEndpoint, useEndpoints } from "@/api/project/settings";
import { eventName } from "@/lib/facts/webhookFacts";
import { ShownOnce } from "@/components/dialogs/ShownOnce";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Section } from "@/components/page/Section";
import { PagedList } from "@/components/tables/PagedList";
import type { EventType } from "@/types/api";

import { EndpointItem } from "./EndpointItem";

export function Webhooks() {
  const endpoints = useEndpoints();
  return (
    <Section title="Webhooks">
      <p className="px-4 pb-3 text-muted">
        When a job ends, a signed request goes to your server. It is repeated with growing delays until your server
        accepts it.
      </p>
      <CreateEndpoint />
      <PagedList list={endpoints} empty="No endpoint.">
        {(items) => (
          <ul>
            {items.map((endpoint) => (
              <EndpointItem key={endpoint.id} endpoint={endpoint} />
            ))}
          </ul>
        )}
      </PagedList>
    </Section>
  );
}

const FIELDS: readonly Field<"name" | "url">[] = [
  { name: "name", label: "Name", className: "w-40", maxLength: 128 },
  {
    name: "url",
    label: "URL, https",
    className: "w-72 max-w-full",
    type: "url",
    maxLength: 2048,
    autoComplete: "on",
    placeholder: "https://example.com/hook",
  },
];

function CreateEndpoint() {
  const create = useCreateEndpoint();
  const [types, setTypes] = useState<readonly EventType[]>(EVENT_TYPES);
  const toggle = (type: EventType) =>
    setTypes(EVENT_TYPES.filter((one) => (one === type) !== types.includes(one)));
  return (
    <>
      <DataForm
        fields={FIELDS}
        action="Create endpoint"
        mutation={create}
        onSubmit={(endpoint, clear) => create.mutate({ ...endpoint, event_types: [...types] }, { onSuccess: clear })}
      >
        <fieldset className="flex flex-wrap gap-x-3 gap-y-1">
          <legend className="fact">When a job has</legend>
          {EVENT_TYPES.map((type) => (
            <label key={type} className="flex min-h-8 items-center gap-1.5">
              <input type="checkbox" checked={types.includes(type)} onChange={() => toggle(type)} />
              {eventName(type)}
            </label>
          ))}
        </fieldset>
      </DataForm>
      {create.data && (
        <ShownOnce title="The signing secret" value={create.data.signing_secret} onClose={() => create.reset()} />
      )}
    </>
  );
}
