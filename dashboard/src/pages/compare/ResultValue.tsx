import { percentOff, type Result } from "@/lib/jobs/comparison";
import { roughly } from "@/lib/text/format";

import type { Measure } from "./measures";

interface MeasuredProps {
  measure: Measure;
  result: Result | undefined;
  /** The baseline's result; undefined for the baseline itself. */
  base: Result | undefined;
  /** In what the two jobs' losses are measured otherwise. */
  otherwise: readonly string[];
}

/** A value and, under it, how far it is off the baseline's. */
export function Measured({ measure, result, base, otherwise }: MeasuredProps) {
  const value = result?.[measure.key] ?? null;
  const baseline = base?.[measure.key] ?? null;
  return (
    <>
      <span className="block">{measure.format(value)}</span>
      {value !== null &&
        baseline !== null &&
        (measure.isLoss && otherwise.length ? (
          <NotComparable otherwise={otherwise} />
        ) : (
          <Off measure={measure} value={value} baseline={baseline} />
        ))}
    </>
  );
}

function NotComparable({ otherwise }: { otherwise: readonly string[] }) {
  const why = `another ${otherwise.join(", another ")}`;
  return (
    <span className="fact block" title={why}>
      not comparable<span className="sr-only">: {why}</span>
    </span>
  );
}

function Off({ measure: { relative, better }, value, baseline }: { measure: Measure; value: number; baseline: number }) {
  const percent = percentOff(value, baseline);
  if (value === baseline) return <span className="fact block">the same</span>;
  const lower = value < baseline;
  const good = better && lower === (better === "lower");
  const colour = good === undefined ? "text-muted" : good ? "text-good" : "text-bad";
  const size = relative ? `${Math.abs(percent ?? 0).toFixed(1)} %` : roughly(Math.abs(value - baseline));
  return (
    <span className={`block text-xs ${colour}`}>
      {lower ? "−" : "+"}
      {size}
      {good !== undefined && (good ? " better" : " worse")}
    </span>
  );
}
