import { lazyRouteComponent } from "@tanstack/react-router";

import { Unreachable } from "./api/failures";

/**
 * Returns a page whose code is loaded when it is opened. If the code is gone after an upgrade, the router loads the whole
 * dashboard again. If the service does not answer, the page says so, and the frame around it stays.
 */
export const lazyPage: typeof lazyRouteComponent = (importer, name) =>
  lazyRouteComponent(() => importer().catch(explain) as ReturnType<typeof importer>, name);

async function explain(cause: unknown): Promise<never> {
  const answers = await fetch("/index.html", { cache: "no-store" }).then(
    ({ ok }) => ok,
    () => false,
  );
  throw answers ? cause : new Unreachable();
}
