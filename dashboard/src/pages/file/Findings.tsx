import { lineWords } from "@/lib/datasets/checkFacts";
import { integer, spoken } from "@/lib/text/format";
import { Prose } from "@/components/basics/Prose";
import type { CheckFinding, CheckReport } from "@/types/api";

const SHOWN = 5; // findings of each code
const TONES = { error: "text-bad", warning: "text-warn", note: "text-muted" };

interface FindingsProps {
  report: CheckReport;
  /** Shows a line as training sees it. */
  onLine?: ((line: number) => void) | undefined;
}

/** What a check has found: for each code how often, and the first findings with line, field and mend. */
export function Findings({ report, onLine }: FindingsProps) {
  if (!report.counts.length) return <p className="px-4 pb-4">Nothing was found.</p>;
  return (
    <ul>
      {report.counts.map(({ code, severity, count }) => {
        const found = report.findings.filter((finding) => finding.code === code).slice(0, SHOWN);
        return (
          <li key={code} className="grid gap-1 border-t border-line px-4 py-2">
            <p>
              <span className={`font-medium ${TONES[severity]}`}>{severity}</span> {spoken(code)}{" "}
              <span className="text-muted">{integer(count)} ×</span>
            </p>
            <ol className="grid gap-1">
              {found.map((finding, at) => (
                <FindingLine key={at} finding={finding} word={report.numbered_by ?? "line"} onLine={onLine} />
              ))}
            </ol>
            {found[0] && (
              <p className="fact">
                <Prose text={`To mend it, ${found[0].mend}.`} />
              </p>
            )}
            {count > found.length && <p className="fact">and {integer(count - found.length)} more</p>}
          </li>
        );
      })}
    </ul>
  );
}

interface FindingLineProps {
  finding: CheckFinding;
  /** What the numbers of rows count. */
  word: string;
  onLine: FindingsProps["onLine"];
}

function FindingLine({ finding, word, onLine }: FindingLineProps) {
  const { line, field, message, other_line } = finding;
  const where = lineWords(word, line);
  return (
    <li className="min-w-0 break-words">
      {line != null &&
        (onLine ? (
          <button type="button" className="link" onClick={() => onLine(line)}>
            {where}
          </button>
        ) : (
          <>{where}</>
        ))}
      {line != null && ": "}
      {field && <code className="font-mono text-xs">{field}</code>} <Prose text={message} />
      {other_line != null && <span className="text-muted"> ({word} {other_line})</span>}
    </li>
  );
}
