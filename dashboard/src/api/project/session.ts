/** Who is signed in: a cookie that scripts cannot read, made from an API key or a one-time link. */

import { type QueryClient, queryOptions, useQuery } from "@tanstack/react-query";

import { ask } from "@/api/client";
import { Refused } from "@/api/failures";
import { endUploads } from "@/api/files/uploads";

export interface Session {
  project: { id: string; name: string };
  role: "read-only" | "member" | "admin";
  key_name: string;
  expires_at: number | null;
}

export type Credential = { api_key: string } | { link: string };

const PATH = "/v1/session";
const SIGN_IN_PATH = "/v1/sign_in";

/** Null for who is not signed in. */
export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async ({ signal }): Promise<Session | null> => {
    try {
      return await (await ask(PATH, { signal })).json();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return null;
      throw error;
    }
  },
  staleTime: Infinity,
});

/** Whether the signed-in key may change anything. */
export function useMayWrite(): boolean {
  const { data } = useQuery(sessionQuery);
  return data != null && data.role !== "read-only";
}

/** Who is signed in, on pages that only they see. */
export function useSession(): Session | null {
  return useQuery(sessionQuery).data ?? null;
}

/** Raises Refused where the key or the link is not good. */
export async function signIn(credential: Credential): Promise<Session> {
  const headers = { "content-type": "application/json" };
  return (await ask(SIGN_IN_PATH, { method: "POST", headers, body: JSON.stringify(credential) })).json();
}

export async function signOut(): Promise<void> {
  await ask(PATH, { method: "DELETE" });
}

const WHY_KEY = ["signed-out"];

/** Another project may be next: what is known of this one is dropped, and nothing of it is sent any more. */
export function setSession(client: QueryClient, session: Session | null): void {
  endUploads();
  client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] });
  client.setQueryData(sessionQuery.queryKey, session);
}

/** Ends a session that the service does not take any more. The sign-in tells `why`. */
export function loseSession(client: QueryClient, why: Refused): void {
  if (!client.getQueryData(sessionQuery.queryKey)) return;
  setSession(client, null);
  client.setQueryData(WHY_KEY, why.message);
}

/** Why the session before ended, where nobody asked for that. */
export function useSignedOut(): string | undefined {
  return useQuery<string>({ queryKey: WHY_KEY, enabled: false }).data;
}

/** The token of a one-time link, from the part of the address that no server sees. */
export function linkToken(hash: string): string | null {
  return new URLSearchParams(hash.replace(/^#/, "")).get("link");
}
