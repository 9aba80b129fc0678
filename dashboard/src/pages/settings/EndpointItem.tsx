import { useState } from "react";

import {
  EVENT_TYPES,
  useDeleteEndpoint,
  useRotateSecret,
  useSwitchEndpoint,
  useTestEndpoint,
} from "@/api/project/settings";
import { eventName } from "@/lib/facts/webhookFacts";
import { Confirm } from "@/components/dialogs/Confirm";
import { ShownOnce } from "@/components/dialogs/ShownOnce";
import { Failure } from "@/components/page/Notice";
import type { Endpoint, EventType } from "@/types/api";

import { Deliveries } from "./Deliveries";

type Dialog = "rotate" | "delete" | null;

export function EndpointItem({ endpoint }: { endpoint: Endpoint }) {
  const [dialog, setDialog] = useState<Dialog>(null);
  const [isOpen, setOpen] = useState(false);
  const switching = useSwitchEndpoint(endpoint.id);
  return (
    <li className="grid gap-2 border-t border-line px-4 py-3">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <h3 className="font-medium break-all">{endpoint.name}</h3>
        <span className={endpoint.enabled ? "text-good" : "text-warn"}>{endpoint.enabled ? "on" : "off"}</span>
        <span className="fact">
          {endpoint.event_types.map(eventName).join(", ")} · secret {endpoint.signing_secret_hint}
        </span>
      </div>
      <p className="font-mono text-xs break-all">{endpoint.url}</p>
      <div className="flex flex-wrap gap-2">
        <Test endpoint={endpoint} />
        <button type="button" className="button" onClick={() => setOpen(!isOpen)} aria-expanded={isOpen}>
          Deliveries
        </button>
        <button
          type="button"
          className="button"
          disabled={switching.isPending}
          onClick={() => switching.mutate(!endpoint.enabled)}
        >
          Switch {endpoint.enabled ? "off" : "on"}
        </button>
        <button type="button" className="button" onClick={() => setDialog("rotate")}>
          New secret
        </button>
        <button type="button" className="button button-danger" onClick={() => setDialog("delete")}>
          Delete
        </button>
      </div>
      {switching.error && <Failure asked error={switching.error} />}
      {isOpen && <Deliveries endpoint={endpoint} />}
      {dialog === "rotate" && <RotateSecret endpoint={endpoint} onClose={() => setDialog(null)} />}
      {dialog === "delete" && <DeleteEndpoint endpoint={endpoint} onClose={() => setDialog(null)} />}
    </li>
  );
}

function Test({ endpoint }: { endpoint: Endpoint }) {
  const test = useTestEndpoint(endpoint.id);
  const [type, setType] = useState<EventType>("fine_tuning.job.succeeded");
  return (
    <div className="flex flex-wrap items-center gap-2">
      <select
        className="field"
        aria-label={`Event to test ${endpoint.name} with`}
        value={type}
        onChange={(event) => setType(event.target.value as EventType)}
      >
        {EVENT_TYPES.map((one) => (
          <option key={one} value={one}>
            {eventName(one)}
          </option>
        ))}
      </select>
      <button type="button" className="button" disabled={test.isPending} onClick={() => test.mutate(type)}>
        {test.isPending ? "Sending…" : "Send a test"}
      </button>
      <span role="status" className="text-good">
        {test.data && `accepted with status ${test.data.status_code}`}
      </span>
      {test.error && <Failure asked error={test.error} />}
    </div>
  );
}

function RotateSecret({ endpoint, onClose }: { endpoint: Endpoint; onClose: () => void }) {
  const rotate = useRotateSecret(endpoint.id);
  const [keep, setKeep] = useState(true);
  if (rotate.data) return <ShownOnce title="The new secret" value={rotate.data.signing_secret} onClose={onClose} />;
  return (
    <Confirm
      title="Make a new signing secret?"
      action="Make a new secret"
      mutation={rotate}
      onConfirm={() => rotate.mutate(keep)}
      onClose={onClose}
    >
      <p>
        Requests to <strong>{endpoint.name}</strong> are signed with the new secret from now on.
      </p>
      <label className="flex items-center gap-2">
        <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} />
        Also sign with the old secret for a day
      </label>
    </Confirm>
  );
}

function DeleteEndpoint({ endpoint, onClose }: { endpoint: Endpoint; onClose: () => void }) {
  const remove = useDeleteEndpoint();
  return (
    <Confirm
      title="Delete this endpoint?"
      action="Delete endpoint"
      mutation={remove}
      onConfirm={() => remove.mutate(endpoint.id, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        <strong>{endpoint.name}</strong> is deleted with its deliveries. Deliveries that are still waiting are not sent.
      </p>
    </Confirm>
  );
}
