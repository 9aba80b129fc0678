import { Link } from "@tanstack/react-router";

import { useTitle } from "@/lib/browser/useTitle";

export function NotFound() {
  useTitle("No such page");
  return (
    <section className="grid justify-items-start gap-3">
      <h1>No such page</h1>
      <Link to="/jobs" className="link">
        All jobs
      </Link>
    </section>
  );
}
