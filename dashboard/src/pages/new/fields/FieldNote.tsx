import { Prose } from "@/components/basics/Prose";

interface FieldNoteProps {
  id?: string;
  hint?: string;
  problem: string | undefined;
}

/** The hint of a field. What is wrong with the field takes the hint's place, so that nothing below moves. */
export function FieldNote({ id, hint, problem }: FieldNoteProps) {
  return (
    <div id={id} className="grid *:col-start-1 *:row-start-1">
      {hint && (
        <p className={`fact ${problem === undefined ? "" : "invisible"}`}>
          <Prose text={hint} />
        </p>
      )}
      {problem !== undefined && (
        <p className="text-xs text-bad">
          <Prose text={problem} />
        </p>
      )}
    </div>
  );
}
