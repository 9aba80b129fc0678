import { remedyFor } from "@/lib/facts/failureRemedies";
import { Prose } from "@/components/basics/Prose";
import { Notice } from "@/components/page/Notice";
import type { Job } from "@/types/api";

/** Why the job failed, and what to do about it. */
export function JobError({ error }: { error: NonNullable<Job["error"]> }) {
  const remedy = remedyFor(error.code);
  return (
    <Notice tone="bad">
      <h2>The job failed</h2>
      <p className="break-words">
        <Prose text={error.message} />
      </p>
      <dl className="mt-2 grid grid-cols-[auto_1fr] gap-x-4 text-muted">
        <dt>Code</dt>
        <dd className="font-mono">{error.code}</dd>
        {error.param && (
          <>
            <dt>Parameter</dt>
            <dd className="font-mono">{error.param}</dd>
          </>
        )}
        {remedy && (
          <>
            <dt>What to do</dt>
            <dd className="text-ink">{remedy}</dd>
          </>
        )}
      </dl>
    </Notice>
  );
}
