import { lineStyleOf } from "@/lib/charts/lineStyles";

/** A piece of the line that stands for a job, a candidate or a metric in a chart. Its name must stand beside it. */
export function LineSample({ styleIndex }: { styleIndex: number }) {
  const { colour, dash } = lineStyleOf(styleIndex);
  return (
    <svg aria-hidden="true" width="28" height="4" className="shrink-0" style={{ color: `var(${colour})` }}>
      <path d="M0 2h28" stroke="currentColor" strokeWidth="2.5" strokeDasharray={dash.join(" ") || undefined} />
    </svg>
  );
}
