/** Requests of a project's administrators: keys, webhooks, secrets, usage, the audit log. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { usePages } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import { get, post, remove } from "@/api/routes";
import type { EventType } from "@/types/api";
import type { components } from "@/types/schema.gen";

type Schemas = components["schemas"];

/** Returns a mutation after which the lists with this query key are read again. */
function useChange<Given, Made>(key: readonly unknown[], change: (given: Given) => Promise<Made>) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: () => readAgain(client, key),
  });
}

// Keys

const KEYS = ["keys"] as const;
const KEYS_PATH = "/v1/organization/projects/{project_id}/api_keys";

export const useKeys = (project: string) => usePages(KEYS, KEYS_PATH, [project]);

export const useCreateKey = (project: string) =>
  useChange(KEYS, (wanted: Schemas["CreateApiKey"]) => post(KEYS_PATH, [project], wanted));

export const useRevokeKey = (project: string) =>
  useChange(KEYS, (id: string) => remove(`${KEYS_PATH}/{api_key_id}`, [project, id]));

// Webhooks

const WEBHOOKS = ["webhooks"] as const;
const WEBHOOKS_PATH = "/v1/webhook_endpoints";
const WEBHOOK = `${WEBHOOKS_PATH}/{webhook_endpoint_id}` as const;

export const EVENT_TYPES: readonly EventType[] = [
  "fine_tuning.job.succeeded",
  "fine_tuning.job.failed",
  "fine_tuning.job.cancelled",
];

export const useEndpoints = () => usePages(WEBHOOKS, WEBHOOKS_PATH);

export const useCreateEndpoint = () =>
  useChange(WEBHOOKS, (wanted: Schemas["CreateEndpoint"]) => post(WEBHOOKS_PATH, [], wanted));

export const useSwitchEndpoint = (id: string) =>
  useChange(WEBHOOKS, (enabled: boolean) => post(WEBHOOK, [id], { enabled }));

export const useDeleteEndpoint = () => useChange(WEBHOOKS, (id: string) => remove(WEBHOOK, [id]));

export const useRotateSecret = (id: string) =>
  useChange(WEBHOOKS, (keep_old_secret_active_for_24_hours: boolean) =>
    post(`${WEBHOOK}/rotate_secret`, [id], { keep_old_secret_active_for_24_hours }),
  );

export const useTestEndpoint = (id: string) =>
  useMutation({ mutationFn: (event_type: EventType) => post(`${WEBHOOK}/test`, [id], { event_type }) });

const deliveriesKey = (id: string) => ["deliveries", id] as const;

export const useDeliveries = (id: string) => usePages(deliveriesKey(id), `${WEBHOOK}/deliveries`, [id]);

export const useRedeliver = (id: string) =>
  useChange(deliveriesKey(id), (delivery: string) =>
    post(`${WEBHOOK}/deliveries/{delivery_id}/redeliver`, [id, delivery], undefined),
  );

// Secrets

const SECRETS = ["secrets"] as const;

export const useSecrets = () => usePages(SECRETS, "/v1/secrets");

export const useSetSecret = () =>
  useChange(SECRETS, (wanted: Schemas["SetSecret"]) => post("/v1/secrets", [], wanted));

export const useDeleteSecret = () =>
  useChange(SECRETS, (name: string) => remove("/v1/secrets/{secret_name}", [name]));

// Usage and the audit log

export function usageQuery(project_id: string) {
  return queryOptions({
    queryKey: ["usage", project_id],
    queryFn: async ({ signal }) =>
      (await get("/v1/organization/usage/fine_tuning", [], { query: { project_id }, signal })).data,
  });
}

export const useAuditLog = (project_id: string) =>
  usePages(["audit", project_id], "/v1/organization/audit_logs", [], { query: { project_id } });
