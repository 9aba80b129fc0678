import { queryOptions } from "@tanstack/react-query";

import { ask } from "@/api/client";
import type { Guide } from "@/lib/guide/guidePages";

/** All pages of the guide, which the service has with the dashboard. */
export const guideQuery = queryOptions({
  queryKey: ["guide"],
  queryFn: async ({ signal }): Promise<Guide> => (await ask("/guide/pages.json", { signal })).json(),
  staleTime: Infinity,
});
