import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { messageOf, Refused } from "@/api/failures";
import { graderCheckQuery } from "@/api/jobs/graders";
import { isRecord } from "@/lib/isRecord";
import { besideSchema, withValue } from "@/lib/newJob/draft";
import { graderExamples } from "@/lib/newJob/graderExamples";
import { Prose } from "@/components/basics/Prose";
import { useSettled } from "@/components/basics/useSettled";
import type { StepProps } from "@/pages/new/fields/stepProps";
import type { Grader } from "@/types/api";

import { JsonField } from "./JsonField";
import { TryGrader } from "./TryGrader";

const LINES = 12;

/** The graders of an objective that learns from rewards: the one that rewards, and the one that only judges. */
export function GraderFields(props: StepProps) {
  const { properties = {} } = besideSchema(props.draft, props.offer);
  const [isOpen, setOpen] = useState(props.draft.beside.audit_grader !== undefined);
  if (!properties.grader) return null;
  return (
    <fieldset className="grid min-w-0 gap-3 border-t border-line pt-5">
      <legend className="float-left font-medium">Rewards</legend>
      <GraderField {...props} name="grader" label="Grader, as JSON" begin="Start from an example" />
      {properties.audit_grader && (
        <details className="clear-both" open={isOpen} onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
          <summary className="cursor-pointer">Audit: a second grader shows whether a rising reward is what you meant</summary>
          <div className="mt-3 grid gap-3">
            <GraderField {...props} name="audit_grader" label="Audit grader, as JSON" begin="Start the audit from an example" />
          </div>
        </details>
      )}
    </fieldset>
  );
}

interface GraderFieldProps extends StepProps {
  name: string;
  label: string;
  /** The words at the examples. */
  begin: string;
}

/** One grader: its JSON, examples, a check and a try. */
function GraderField(props: GraderFieldProps) {
  const { draft, change, name, begin } = props;
  const grader = draft.beside[name];
  const examples = graderExamples(draft.model);
  const set = (value: unknown) => change({ beside: withValue(draft.beside, name, value) });
  return (
    <>
      <label className="clear-both flex flex-wrap items-center gap-2">
        {begin}
        <select className="field min-w-0 flex-1" value="" onChange={({ target }) => set(examples[target.value])}>
          <option value="">Choose…</option>
          {Object.keys(examples).map((words) => (
            <option key={words}>{words}</option>
          ))}
        </select>
      </label>
      <JsonField {...props} rows={LINES} />
      {isRecord(grader) && (
        <>
          <Checked grader={grader as unknown as Grader} />
          <TryGrader grader={grader as unknown as Grader} trainingFile={draft.training_file} />
        </>
      )}
    </>
  );
}

/** Whether the service can use the grader, as it is once nobody types. */
function Checked({ grader }: { grader: Grader }) {
  const settled = useSettled(JSON.stringify(grader));
  const asked = useMemo(() => JSON.parse(settled) as Grader, [settled]);
  const { isSuccess, error } = useQuery(graderCheckQuery(asked));
  const param = error instanceof Refused ? error.param : null;
  return (
    <p role="status" className={error ? "text-bad" : "text-muted"}>
      {error ? (
        <>
          <Prose text={messageOf(error)} /> {param && <span className="font-mono text-xs">{param}</span>}
        </>
      ) : isSuccess ? (
        "The service can use this grader."
      ) : (
        "Checking the grader…"
      )}
    </p>
  );
}
