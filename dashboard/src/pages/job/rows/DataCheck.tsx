import { Link } from "@tanstack/react-router";

import { fileOf, findingInWords } from "@/lib/datasets/dataCheck";
import { Prose } from "@/components/basics/Prose";
import { Section } from "@/components/page/Section";
import type { Job } from "@/types/api";

const TONES = { error: "text-bad", warning: "text-warn", note: "text-muted" };

/** What the check of the job's rows has found, if it has found anything. */
export function DataCheck({ job }: { job: Job }) {
  if (!job.data_check?.length) return null;
  return (
    <Section title="Check of the rows">
      <ul>
        {job.data_check.map((finding) => {
          const { code, severity, message, mend } = finding;
          const file = fileOf(job, finding);
          return (
            <li key={`${finding.file} ${code}`} className="min-w-0 border-t border-line px-4 py-2 break-words">
              <span className={`font-medium ${TONES[severity]}`}>{severity}</span> {findingInWords(finding)}, in the{" "}
              {file === null ? (
                finding.file.replace("_", " ")
              ) : (
                <Link to="/files/$fileId" params={{ fileId: file }} className="link underline">
                  {finding.file.replace("_", " ")}
                </Link>
              )}
              <p className="fact">
                <Prose text={`First: ${message}. To mend it, ${mend}.`} />
              </p>
            </li>
          );
        })}
      </ul>
    </Section>
  );
}
