import { intervalWords } from "@/lib/evals/evalWords";

interface EstimateProps {
  /** The value in words. */
  value: string;
  interval: { low: number | null; high: number | null };
}

/** A value and, below it, its 95 % interval. */
export function Estimate({ value, interval }: EstimateProps) {
  const words = intervalWords(interval);
  return (
    <>
      <span className="block whitespace-nowrap">{value}</span>
      {words && (
        <span className="fact block whitespace-nowrap">
          <span className="sr-only">95 % interval: </span>
          {words}
        </span>
      )}
    </>
  );
}
