import type { Ref } from "react";

import { messageOf, Refused, Unreachable } from "@/api/failures";
import type { Problem } from "@/lib/schemas/schemaProblems";
import { Prose } from "@/components/basics/Prose";

import { focusField } from "./fields/formContext";

interface ProblemsProps {
  problems: readonly Problem[];
  refusal: unknown;
  /** The field that the refusal is about; null if it is about none. */
  refusedField: string | null;
  ref: Ref<HTMLDivElement>;
}

/** Says why the job was not created, with links to the fields. */
export function Problems({ problems, refusal, refusedField, ref }: ProblemsProps) {
  if (!problems.length && !refusal) return null;
  return (
    <div ref={ref} role="alert" tabIndex={-1} className="card grid gap-2 border-l-4 border-bad px-4 py-3">
      <h2>The job was not created</h2>
      {refusal ? <Refusal refusal={refusal} field={refusedField} /> : null}
      {problems.length > 0 && (
        <ul className="grid gap-1">
          {problems.map(({ path, message }) => (
            <li key={`${path} ${message}`}>
              <ToField path={path} /> <Prose text={message} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Refusal({ refusal, field }: { refusal: unknown; field: string | null }) {
  const param = refusal instanceof Refused ? refusal.param : null;
  return (
    <p className="break-words">
      <Prose text={messageOf(refusal)} />{" "}
      {refusal instanceof Unreachable && "You can create it again: the same request makes no second job. "}
      {field !== null ? <ToField path={field} /> : param && <span className="text-muted">Parameter: {param}</span>}
    </p>
  );
}

function ToField({ path }: { path: string }) {
  return (
    <button type="button" className="link font-mono text-xs" onClick={() => focusField(path)}>
      {path}
    </button>
  );
}
