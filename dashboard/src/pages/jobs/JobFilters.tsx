import { getRouteApi } from "@tanstack/react-router";
import { useEffect, useEffectEvent, useRef, useState } from "react";

import type { JobSearch } from "@/lib/addresses/jobSearch";
import { useShortcuts } from "@/lib/browser/shortcuts";
import { type Status, STATUSES } from "@/lib/facts/jobFacts";
import { useSettled } from "@/components/basics/useSettled";

const route = getRouteApi("/jobs");

/** Search and status. They are kept in the address, so a reload, a bookmark and the browser's Back keep them. */
export function JobFilters() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const field = useRef<HTMLInputElement>(null);
  useShortcuts({ "/": () => field.current?.focus() });

  const change = (changed: Partial<JobSearch>) =>
    void navigate({ search: (before) => ({ ...before, ...changed }), replace: true });

  const [typed, setTyped] = useState<{ text: string } | null>(null);
  const find = useEffectEvent((q: string) => change({ q }));
  const settled = useSettled(typed);
  useEffect(() => {
    if (settled !== null) find(settled.text);
  }, [settled]);
  useEffect(() => {
    const isTyping = document.activeElement === field.current;
    if (field.current && !isTyping) field.current.value = search.q ?? ""; // a link has changed the address
  }, [search.q]);

  return (
    <search className="flex flex-wrap gap-2">
      <input
        ref={field}
        type="search"
        aria-label="Search jobs"
        placeholder="Name, model, file, metadata"
        className="field w-60"
        defaultValue={search.q ?? ""}
        onChange={(event) => setTyped({ text: event.target.value })}
      />
      <select
        aria-label="Status"
        className="field"
        value={search.status ?? ""}
        onChange={(event) => change({ status: (event.target.value || undefined) as Status })}
      >
        <option value="">any status</option>
        {STATUSES.map((status) => (
          <option key={status}>{status}</option>
        ))}
      </select>
    </search>
  );
}
