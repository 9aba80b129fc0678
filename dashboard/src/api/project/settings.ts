/** Requests of a project's administrators: keys, webhooks, secrets, usage, the audit log. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, body } from "@/api/client";
import { pageQuery, usePaged } from "@/api/paged";
import { readAgain } from "@/api/readAgain";
import type { EventType } from "@/types/api";
import type { components } from "@/types/schema.gen";

type Schemas = components["schemas"];

const PAGE = 50;

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

export function useKeys(project_id: string) {
  return usePaged(KEYS, (after, signal) =>
    body(api.GET(KEYS_PATH, { params: { path: { project_id }, query: pageQuery(PAGE, after) }, signal })),
  );
}

export function useCreateKey(project_id: string) {
  return useChange(KEYS, (wanted: Schemas["CreateApiKey"]) =>
    body(api.POST(KEYS_PATH, { params: { path: { project_id } }, body: wanted })),
  );
}

export function useRevokeKey(project_id: string) {
  return useChange(KEYS, (api_key_id: string) =>
    body(api.DELETE(`${KEYS_PATH}/{api_key_id}`, { params: { path: { project_id, api_key_id } } })),
  );
}

// Webhooks

const WEBHOOKS = ["webhooks"] as const;
const WEBHOOK = "/v1/webhook_endpoints/{webhook_endpoint_id}";
const of = (webhook_endpoint_id: string) => ({ path: { webhook_endpoint_id } });

export const EVENT_TYPES: readonly EventType[] = [
  "fine_tuning.job.succeeded",
  "fine_tuning.job.failed",
  "fine_tuning.job.cancelled",
];

export function useEndpoints() {
  return usePaged(WEBHOOKS, (after, signal) =>
    body(api.GET("/v1/webhook_endpoints", { params: { query: pageQuery(PAGE, after) }, signal })),
  );
}

export function useCreateEndpoint() {
  return useChange(WEBHOOKS, (wanted: Schemas["CreateEndpoint"]) =>
    body(api.POST("/v1/webhook_endpoints", { body: wanted })),
  );
}

export function useSwitchEndpoint(id: string) {
  return useChange(WEBHOOKS, (enabled: boolean) => body(api.POST(WEBHOOK, { params: of(id), body: { enabled } })));
}

export function useDeleteEndpoint() {
  return useChange(WEBHOOKS, (id: string) => body(api.DELETE(WEBHOOK, { params: of(id) })));
}

export function useRotateSecret(id: string) {
  return useChange(WEBHOOKS, (keep_old_secret_active_for_24_hours: boolean) =>
    body(api.POST(`${WEBHOOK}/rotate_secret`, { params: of(id), body: { keep_old_secret_active_for_24_hours } })),
  );
}

export function useTestEndpoint(id: string) {
  return useMutation({
    mutationFn: (event_type: EventType) => body(api.POST(`${WEBHOOK}/test`, { params: of(id), body: { event_type } })),
  });
}

const deliveriesKey = (id: string) => ["deliveries", id] as const;

export function useDeliveries(id: string) {
  return usePaged(deliveriesKey(id), (after, signal) =>
    body(api.GET(`${WEBHOOK}/deliveries`, { params: { ...of(id), query: pageQuery(PAGE, after) }, signal })),
  );
}

export function useRedeliver(id: string) {
  return useChange(deliveriesKey(id), (delivery_id: string) =>
    body(
      api.POST(`${WEBHOOK}/deliveries/{delivery_id}/redeliver`, {
        params: { path: { webhook_endpoint_id: id, delivery_id } },
      }),
    ),
  );
}

// Secrets

const SECRETS = ["secrets"] as const;

export function useSecrets() {
  return usePaged(SECRETS, (after, signal) =>
    body(api.GET("/v1/secrets", { params: { query: pageQuery(PAGE, after) }, signal })),
  );
}

export function useSetSecret() {
  return useChange(SECRETS, (wanted: Schemas["SetSecret"]) => body(api.POST("/v1/secrets", { body: wanted })));
}

export function useDeleteSecret() {
  return useChange(SECRETS, (secret_name: string) =>
    body(api.DELETE("/v1/secrets/{secret_name}", { params: { path: { secret_name } } })),
  );
}

// Usage and the audit log

export function usageQuery(project_id: string) {
  return queryOptions({
    queryKey: ["usage", project_id],
    queryFn: async ({ signal }) => {
      const query = { project_id };
      return (await body(api.GET("/v1/organization/usage/fine_tuning", { params: { query }, signal }))).data;
    },
  });
}

export function useAuditLog(project_id: string) {
  return usePaged(["audit", project_id], (after, signal) =>
    body(
      api.GET("/v1/organization/audit_logs", {
        params: { query: { ...pageQuery(PAGE, after), project_id } },
        signal,
      }),
    ),
  );
}
