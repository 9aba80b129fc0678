import type { QueryClient } from "@tanstack/react-query";

/**
 * Reads the queries with this key again after a change. A read that is under way is stopped first, because its answer may
 * be older than the change. `invalidateQueries` alone does not stop the first read of a query.
 */
export async function readAgain(client: QueryClient, queryKey: readonly unknown[]): Promise<void> {
  await client.cancelQueries({ queryKey });
  await client.invalidateQueries({ queryKey });
}
