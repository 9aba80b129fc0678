import { useQuery } from "@tanstack/react-query";

import { usageQuery } from "@/api/project/settings";
import { duration, integer } from "@/lib/text/format";
import { type Day, dayName, daysOf, heights } from "@/lib/facts/usage";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";

export function Usage({ project }: { project: string }) {
  const { data, failureReason } = useQuery(usageQuery(project));
  const days = daysOf(data ?? []);
  const used = days.filter((day) => day.tokens || day.deviceSeconds);
  return (
    <Section title="Usage, the last 30 days">
      {failureReason && !data && <Failure error={failureReason} />}
      {data && <Totals days={days} />}
      {data && (
        <div className="grid gap-6 px-4 pb-4 md:grid-cols-2">
          <Bars title="Trained tokens" days={days} valueOf={(day) => day.tokens} colour="var(--series-1)" />
          <Bars title="Device time" days={days} valueOf={(day) => day.deviceSeconds} colour="var(--series-2)" />
        </div>
      )}
      {used.length > 0 && <Table days={used.toReversed()} />}
    </Section>
  );
}

function Totals({ days }: { days: readonly Day[] }) {
  const tokens = days.reduce((sum, day) => sum + day.tokens, 0);
  const seconds = days.reduce((sum, day) => sum + day.deviceSeconds, 0);
  return (
    <p className="px-4 pb-3 text-muted">
      {tokens || seconds ? `${integer(tokens)} tokens in ${duration(seconds)} on devices. ` : "Nothing was trained. "}
      Days are in UTC; of jobs that train together, each counts its whole time.
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

/** A bar for each day. The table has the numbers. */
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

function Table({ days }: { days: readonly Day[] }) {
  return (
    <table className="data-table">
      <thead>
        <tr>
          <th scope="col">Day</th>
          <th scope="col" className="number">
            Trained tokens
          </th>
          <th scope="col" className="number">
            Device time
          </th>
        </tr>
      </thead>
      <tbody>
        {days.map((day) => (
          <tr key={day.start}>
            <td>{dayName(day.start)}</td>
            <td className="number">{integer(day.tokens)}</td>
            <td className="number" title={`${integer(day.deviceSeconds)} s`}>
              {duration(day.deviceSeconds)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
