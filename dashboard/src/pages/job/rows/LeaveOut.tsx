import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { isUnderWay, useWork, workQuery } from "@/api/work/work";
import { counted } from "@/lib/text/format";
import { Prose } from "@/components/basics/Prose";
import { Failure } from "@/components/page/Notice";
import type { FileCheck } from "@/types/api";

/** Makes a mended copy of a file that has not the chosen lines. */
export function LeaveOut({ fileId, lines }: { fileId: string; lines: readonly number[] }) {
  const { start } = useWork("check", fileId);
  const check = start.data;
  return (
    <div className="flex flex-wrap items-center gap-3 border-t border-line p-4">
      <button
        type="button"
        className="button"
        disabled={start.isPending}
        onClick={() => start.mutate({ mend: true, leave_out: [...lines] })}
      >
        {`Make a copy without ${counted(lines.length, "row")}`}
      </button>
      <span className="text-muted">Repeated rows and rows that teach nothing are left out too.</span>
      {start.error != null && <Failure asked error={start.error} />}
      {check && <Progress fileId={fileId} checkId={check.id} />}
    </div>
  );
}

function Progress({ fileId, checkId }: { fileId: string; checkId: string }) {
  const { data, error } = useQuery(workQuery("check", fileId, checkId));
  return (
    <p role="status" className="w-full">
      {error ? <Failure error={error} /> : data && !isUnderWay(data) ? <Result check={data} /> : "The copy is being made…"}
    </p>
  );
}

function Result({ check }: { check: FileCheck }) {
  if (check.mended_file !== null) {
    return (
      <Link to="/files/$fileId" params={{ fileId: check.mended_file }} className="link">
        The copy is made
      </Link>
    );
  }
  return <Prose text={`No copy was made: ${check.error?.message ?? check.report?.not_mended ?? check.status}`} />;
}
