/** The session: a cookie that scripts cannot read. An API key or a one-time link starts it. */

import { type QueryClient, queryOptions, useQuery } from "@tanstack/react-query";

import { ask, sendJson } from "@/api/client";
import { Refused } from "@/api/failures";
import { endUploads } from "@/api/files/uploads";

export interface Session {
  project: { id: string; name: string };
  role: "read-only" | "member" | "admin";
  key_name: string;
  /** Whether the key may do what only the operator may, such as changing the catalog of base models. */
  is_operator: boolean;
  expires_at: number | null;
  /** The projects of a person who has signed on; absent or null if the session acts for a key. */
  sign_on_projects?: { id: string; name: string }[] | null;
}

/** How a browser may sign in: by an API key, and by the provider of this name. */
export interface WaysToSignIn {
  by_key: boolean;
  sign_on: string | null;
  /** What the problem means with which a sign-on has ended. */
  problem: string | null;
}

/** The API key that a one-time link signs in with. */
export type LinkedKey = Pick<Session, "project" | "role" | "key_name">;

export type Credential = { api_key: string } | { link: string };

const PATH = "/v1/session";
const SIGN_IN_PATH = "/v1/sign_in";
const LINK_PATH = "/v1/sign_in/link";
const SIGN_ON_PATH = "/v1/sign_on";

/** Where the browser signs off at the provider too. It comes back to the sign-in page. */
export const SIGN_OFF_PATH = "/v1/sign_on/end";

/** The session; null while nobody is signed in. */
export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async ({ signal }): Promise<Session | null> => {
    try {
      return await sendJson("GET", PATH, { signal });
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return null;
      throw error;
    }
  },
  staleTime: Infinity,
});

/** Returns whether the signed-in key may change anything. */
export function useMayWrite(): boolean {
  const { data } = useQuery(sessionQuery);
  return data != null && data.role !== "read-only";
}

/** Returns the session, for pages that exist only with one. */
export function useSession(): Session | null {
  return useQuery(sessionQuery).data ?? null;
}

/** The key that the link with this secret signs in with. The link stays valid. */
export const linkedKeyQuery = (secret: string) =>
  queryOptions({
    queryKey: ["linked key", secret],
    queryFn: ({ signal }): Promise<LinkedKey> => sendJson("POST", LINK_PATH, { body: { link: secret }, signal }),
    staleTime: Infinity,
  });

/** How to sign in, and what this problem of a sign-on means. */
export const waysQuery = (problem: string | null) =>
  queryOptions({
    queryKey: ["ways to sign in", problem],
    queryFn: ({ signal }): Promise<WaysToSignIn> =>
      sendJson("GET", problem === null ? SIGN_IN_PATH : `${SIGN_IN_PATH}?problem=${encodeURIComponent(problem)}`, { signal }),
    staleTime: Infinity,
  });

/** The problem with which a sign-on has ended, as the address of the sign-in page names it. */
export function problemOfSignOn(): string | null {
  return new URLSearchParams(location.search).get("problem");
}

/** The address at which a person signs on, and from which the browser comes back to `page`. */
export function signOnAddress(page: string, project?: string): string {
  const asked = new URLSearchParams({ next: page, ...(project !== undefined && { project }) });
  return `${SIGN_ON_PATH}?${asked}`;
}

/** Starts a session. Raises Refused if the key or the link is not valid. */
export function signIn(credential: Credential): Promise<Session> {
  return sendJson("POST", SIGN_IN_PATH, { body: credential });
}

export async function signOut(): Promise<void> {
  await ask(PATH, { method: "DELETE" });
}

const WHY_KEY = ["signed-out"];

/**
 * Changes the session. The next one may belong to another project, so the data of this project are dropped and its
 * uploads end.
 */
export function setSession(client: QueryClient, session: Session | null): void {
  endUploads();
  client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] });
  client.setQueryData(sessionQuery.queryKey, session);
}

/** Ends a session that the service no longer accepts. The sign-in page shows `why`. */
export function loseSession(client: QueryClient, why: Refused): void {
  if (!client.getQueryData(sessionQuery.queryKey)) return;
  setSession(client, null);
  client.setQueryData(WHY_KEY, why.message);
}

/** Returns why the last session ended, if it was not ended by a sign-out. */
export function useSignedOut(): string | undefined {
  return useQuery<string>({ queryKey: WHY_KEY, enabled: false }).data;
}

/** Returns the secret of a one-time link. It is in the part of the address that is not sent to a server. */
export function linkSecret(hash: string): string | null {
  return new URLSearchParams(hash.replace(/^#/, "")).get("link");
}
