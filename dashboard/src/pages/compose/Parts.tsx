import { Link } from "@tanstack/react-router";

import { isNotFound, messageOf } from "@/api/failures";
import type { ChosenPart } from "@/lib/compose/draft";
import { Prose } from "@/components/basics/Prose";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { Adapter } from "@/types/api";

const MOST_WEIGHT = 100;

/** An adapter of the composition, as far as it is known. */
export interface Part extends ChosenPart {
  id: string;
  adapter: Adapter | undefined;
  error: Error | null;
}

interface PartsProps {
  parts: readonly Part[];
  onWeight: (id: string, weight: string) => void;
  onRemove: (id: string) => void;
}

/** The chosen adapters, each with its weight. */
export function Parts({ parts, ...actions }: PartsProps) {
  if (!parts.length) {
    return (
      <p className="px-4 pb-4 text-muted">
        A composition makes one adapter of several LoRA adapters of one base model. It keeps all or some of what each of
        them has learnt, and needs no training. Add the adapters first.
      </p>
    );
  }
  return <DataTable columns={columnsOf(actions)} rows={parts} keyOf={({ id }) => id} region={wideRegion("Chosen adapters")} />;
}

function columnsOf({ onWeight, onRemove }: Omit<PartsProps, "parts">): Column<Part>[] {
  return [
    {
      name: "Model",
      isRowHead: true,
      cell: ({ id, name }) => (
        <Link to="/adapters/$adapterId" params={{ adapterId: id }} className="link text-sm break-all">
          {name}
        </Link>
      ),
      below: (part) => <BaseModel part={part} />,
    },
    { name: "Base model", shownFrom: "md", cell: (part) => <BaseModel part={part} /> },
    {
      name: "Weight",
      align: "right",
      width: "w-28",
      cell: ({ id, name, weight }) => (
        <input
          className="field w-20 text-right"
          type="number"
          aria-label={`Weight of ${name}`}
          min={-MOST_WEIGHT}
          max={MOST_WEIGHT}
          step="any"
          required
          value={weight}
          onChange={({ target }) => onWeight(id, target.value)}
        />
      ),
    },
    {
      name: "Actions",
      hiddenHead: true,
      align: "right",
      width: "w-24",
      cell: ({ id, name }) => (
        <button type="button" className="link" aria-label={`Remove ${name}`} onClick={() => onRemove(id)}>
          Remove
        </button>
      ),
    },
  ];
}

function BaseModel({ part: { adapter, error } }: { part: Part }) {
  if (adapter) return adapter.base_model;
  if (!error) return "Reading…";
  return <span className="text-bad">{isNotFound(error) ? "There is no such adapter" : <Prose text={messageOf(error)} />}</span>;
}
