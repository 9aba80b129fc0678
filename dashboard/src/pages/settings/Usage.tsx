import { useQuery } from "@tanstack/react-query";

import { usageQuery } from "@/api/project/settings";
import { type Day, dayName, daysOf, heights } from "@/lib/facts/usage";
import { duration, integer } from "@/lib/text/format";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";

export function Usage({ project }: { project: string }) {
  return (
    <Section title="Usage, the last 30 days">
      <Loaded query={useQuery(usageQuery(project))}>{(buckets) => <UsageOf days={daysOf(buckets)} />}</Loaded>
    </Section>
  );
}

function UsageOf({ days }: { days: readonly Day[] }) {
  const used = days.filter((day) => day.tokens || day.deviceSeconds);
  return (
    <>
      <Totals days={days} />
      <div className="grid gap-6 px-4 pb-4 md:grid-cols-2">
        <Bars title="Trained tokens" days={days} valueOf={(day) => day.tokens} colour="var(--series-1)" />
        <Bars title="Device time" days={days} valueOf={(day) => day.deviceSeconds} colour="var(--series-2)" />
      </div>
      {used.length > 0 && <DataTable columns={COLUMNS} rows={used.toReversed()} keyOf={({ start }) => start} />}
    </>
  );
}

const COLUMNS: readonly Column<Day>[] = [
  { name: "Day", cell: ({ start }) => dayName(start) },
  { name: "Trained tokens", align: "right", cell: ({ tokens }) => integer(tokens) },
  {
    name: "Device time",
    align: "right",
    cell: ({ deviceSeconds }) => <span title={`${integer(deviceSeconds)} s`}>{duration(deviceSeconds)}</span>,
  },
];

function Totals({ days }: { days: readonly Day[] }) {
  const tokens = days.reduce((sum, day) => sum + day.tokens, 0);
  const seconds = days.reduce((sum, day) => sum + day.deviceSeconds, 0);
  return (
    <p className="px-4 pb-3 text-muted">
      {tokens || seconds ? `${integer(tokens)} tokens in ${duration(seconds)} on devices. ` : "Nothing was trained. "}
      Days are in UTC. When jobs train together, each job counts its whole time.
    </p>
  );
}

interface BarsProps {
  title: string;
  days: readonly Day[];
  valueOf: (day: Day) => number;
  colour: string;
}

const WIDTH = 300;
const HEIGHT = 60;

/** A bar for each day. The numbers are in the table. */
function Bars({ title, days, valueOf, colour }: BarsProps) {
  const bar = WIDTH / Math.max(1, days.length);
  const first = days[0];
  const last = days.at(-1);
  return (
    <figure className="min-w-0">
      <figcaption className="mb-1">{title}</figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        className="h-20 w-full border-b border-line"
        aria-hidden="true"
      >
        {heights(days.map(valueOf)).map((height, at) => (
          <rect
            key={days[at]?.start}
            x={at * bar + bar * 0.1}
            width={bar * 0.8}
            y={HEIGHT * (1 - height)}
            height={HEIGHT * height}
            fill={colour}
          />
        ))}
      </svg>
      {first && last && (
        <p className="fact flex justify-between">
          <span>{dayName(first.start)}</span>
          <span>{dayName(last.start)}</span>
        </p>
      )}
    </figure>
  );
}
