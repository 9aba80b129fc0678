import { percentOff, type Result } from "@/lib/jobs/comparison";
import { roughly, rounded } from "@/lib/text/format";

import type { Metric } from "./metrics";

interface ResultValueProps {
  metric: Metric;
  result: Result | undefined;
  /** The result of the baseline; undefined for the baseline itself. */
  base: Result | undefined;
  /** The conditions in which the two jobs differ, of those that the metric depends on. */
  differing: readonly string[];
}

/** A value and, below it, the difference to the baseline's value. */
export function ResultValue({ metric, result, base, differing }: ResultValueProps) {
  const value = result?.[metric.key] ?? null;
  const baseline = base?.[metric.key] ?? null;
  return (
    <>
      <span className="block">{metric.format(value)}</span>
      {value !== null &&
        baseline !== null &&
        (differing.length ? (
          <NotComparable differing={differing} />
        ) : (
          <Difference metric={metric} value={value} baseline={baseline} />
        ))}
    </>
  );
}

function NotComparable({ differing }: { differing: readonly string[] }) {
  const why = `another ${differing.join(", another ")}`;
  return (
    <span className="fact block" title={why}>
      not comparable<span className="sr-only">: {why}</span>
    </span>
  );
}

interface DifferenceProps {
  metric: Metric;
  value: number;
  baseline: number;
}

function Difference({ metric: { isRelative, better }, value, baseline }: DifferenceProps) {
  const percent = percentOff(value, baseline);
  if (value === baseline) return <span className="fact block">the same</span>;
  const isLower = value < baseline;
  const isBetter = better && isLower === (better === "lower");
  const colour = isBetter === undefined ? "text-muted" : isBetter ? "text-good" : "text-bad";
  const size = isRelative ? `${rounded(Math.abs(percent ?? 0), 3)} %` : roughly(Math.abs(value - baseline));
  return (
    <span className={`block text-xs ${colour}`}>
      {isLower ? "−" : "+"}
      {size}
      {isBetter !== undefined && (isBetter ? " better" : " worse")}
    </span>
  );
}
