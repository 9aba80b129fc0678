import type { Candidate, Candidates } from "@/api/types";
import { candidateName, lastLoss } from "@/lib/facts/candidateFacts";
import { integer, NOTHING, significant } from "@/lib/text/format";
import { Icon } from "@/parts/basics/Icon";
import { LineSample } from "@/parts/charts/LineSample";

/** The candidates, the best first, with what became of each and why. */
export function Ranking({ found, ended }: { found: Candidates; ended: boolean }) {
  return (
    <>
      <p className="px-4 pb-3">{summary(found, ended)}</p>
      <div className="wide-table" tabIndex={0} role="region" aria-label="Ranking of the candidates">
        <table className="data-table">
          <thead>
            <tr>
              <th scope="col" className="number">
                #
              </th>
              <th scope="col">Candidate</th>
              <th scope="col">Status</th>
              <th scope="col" className="number">
                Step
              </th>
              <th scope="col" className="number">
                Val. loss when compared
              </th>
              <th scope="col" className="number">
                Tokens
              </th>
              <th scope="col" className="number">
                Tokens saved
              </th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {found.data.map((candidate, at) => (
              <Row key={candidate.number} candidate={candidate} rank={at + 1} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Row({ candidate, rank }: { candidate: Candidate; rank: number }) {
  const { number, status, step, trained_tokens, saved_tokens, reason, rungs } = candidate;
  const won = status === "won";
  return (
    <tr className={won ? "bg-tint" : ""}>
      <td className="number">{rank}</td>
      <th scope="row" className="border-t border-line">
        <span className="flex items-center gap-2 text-sm whitespace-nowrap text-ink">
          <LineSample place={number} />
          {candidateName(candidate)}
        </span>
      </th>
      <td>
        <span className={`inline-flex items-center gap-1 ${won ? "text-accent" : "text-muted"}`}>
          {won && <Icon name="best" />}
          {status}
        </span>
      </td>
      <td className="number">{integer(step)}</td>
      <td className="number whitespace-nowrap" title={rungs.map((rung) => `step ${rung.step}: ${significant(rung.valid_loss)}`).join("\n")}>
        {significant(lastLoss(candidate))}
      </td>
      <td className="number">{integer(trained_tokens)}</td>
      <td className="number">{integer(saved_tokens)}</td>
      <td className="min-w-60">{reason ?? NOTHING}</td>
    </tr>
  );
}

function summary({ data, winner, cost }: Candidates, ended: boolean): string {
  const left = data.filter(({ status }) => status === "waiting" || status === "training").length;
  if (cost && winner !== null) {
    const saved = data.reduce((sum, { saved_tokens }) => sum + (saved_tokens ?? 0), 0);
    return (
      `All ${data.length} together trained ${integer(cost.trained_tokens)} tokens, ${cost.runs.toFixed(2)} times the ` +
      `winner's ${integer(cost.winner_tokens)}. To train each to the end would have been ${integer(saved)} more.`
    );
  }
  if (ended) return `The job ended before one of ${data.length} candidates had won.`;
  return `${left} of ${data.length} candidates train on. The worse half is dropped at each comparison.`;
}
