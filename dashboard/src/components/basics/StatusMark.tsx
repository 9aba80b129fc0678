import { STATUSES } from "@/lib/facts/jobFacts";

import { Icon } from "./Icon";

const COLOURS: Record<string, string> = {
  running: "text-accent",
  succeeded: "text-good",
  paused: "text-warn",
  failed: "text-bad",
};

/** A job's status as an icon and a word. */
export function StatusMark({ status }: { status: string }) {
  const icon = STATUSES.find((one) => one === status) ?? "queued";
  return (
    <span className={`inline-flex items-center gap-1.5 ${COLOURS[status] ?? "text-muted"}`}>
      <Icon name={icon} />
      {status}
    </span>
  );
}
