import { candidateName, lastLoss } from "@/lib/facts/candidateFacts";
import { integer, NOTHING, significant } from "@/lib/text/format";
import { Icon } from "@/components/basics/Icon";
import { Prose } from "@/components/basics/Prose";
import { LineSample } from "@/components/charts/LineSample";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { Candidate, Candidates } from "@/types/api";

/** The candidates, the best first: the result of each, and why it won or was dropped. */
export function CandidateRanking({ candidates, hasEnded }: { candidates: Candidates; hasEnded: boolean }) {
  return (
    <>
      <p className="px-4 pb-3">{summary(candidates, hasEnded)}</p>
      <DataTable
        columns={COLUMNS}
        rows={candidates.data}
        keyOf={({ number }) => number}
        rowClasses={({ status }) => (status === "won" ? "bg-tint" : "")}
        region={wideRegion("Ranking of the candidates")}
      />
    </>
  );
}

const COLUMNS: readonly Column<Candidate>[] = [
  { name: "#", align: "right", cell: (_, index) => index + 1 },
  {
    name: "Candidate",
    isRowHead: true,
    cell: (candidate) => (
      <span className="flex items-center gap-2 text-sm whitespace-nowrap text-ink">
        <LineSample styleIndex={candidate.number} />
        {candidateName(candidate)}
      </span>
    ),
  },
  {
    name: "Status",
    cell: ({ status }) => (
      <span className={`inline-flex items-center gap-1 ${status === "won" ? "text-accent" : "text-muted"}`}>
        {status === "won" && <Icon name="best" />}
        {status}
      </span>
    ),
  },
  { name: "Step", align: "right", cell: ({ step }) => integer(step) },
  {
    name: "Val. loss when compared",
    align: "right",
    className: "whitespace-nowrap",
    cell: (candidate) => <span title={comparisonsOf(candidate)}>{significant(lastLoss(candidate))}</span>,
  },
  { name: "Tokens", align: "right", cell: ({ trained_tokens }) => integer(trained_tokens) },
  { name: "Tokens saved", align: "right", cell: ({ saved_tokens }) => integer(saved_tokens) },
  { name: "Why", className: "min-w-60", cell: ({ reason }) => <Prose text={reason ?? NOTHING} /> },
];

function comparisonsOf({ rungs }: Candidate): string {
  return rungs.map(({ step, valid_loss }) => `step ${step}: ${significant(valid_loss)}`).join("\n");
}

function summary({ data, winner, cost }: Candidates, hasEnded: boolean): string {
  const left = data.filter(({ status }) => status === "waiting" || status === "training").length;
  if (cost && winner !== null) {
    const saved = data.reduce((sum, { saved_tokens }) => sum + (saved_tokens ?? 0), 0);
    return (
      `All ${data.length} candidates together trained ${integer(cost.trained_tokens)} tokens, ${cost.runs.toFixed(2)} ` +
      `times the winner's ${integer(cost.winner_tokens)}. Training each of them to the end would have taken ` +
      `${integer(saved)} more.`
    );
  }
  if (hasEnded) return `The job ended before any of its ${data.length} candidates won.`;
  return `${left} of ${data.length} candidates are still training. Each comparison drops the worse half.`;
}
