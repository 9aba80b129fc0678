import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { loraAdaptersQuery } from "@/api/project/adapters";
import { MOST_PARTS } from "@/lib/addresses/composeSearch";
import { MOST_FOUND, matchingCommands } from "@/components/finder/commands";
import { Finder } from "@/components/finder/Finder";

import type { Part } from "./Parts";

interface AddAdapterProps {
  chosen: readonly Part[];
  onAdd: (id: string) => void;
}

export function AddAdapter(props: AddAdapterProps) {
  const [open, setOpen] = useState(false);
  const full = props.chosen.length >= MOST_PARTS;
  return (
    <>
      <button type="button" className="button" disabled={full} onClick={() => setOpen(true)}>
        {full ? `At most ${MOST_PARTS}` : "Add an adapter…"}
      </button>
      {open && <AdapterFinder {...props} onClose={() => setOpen(false)} />}
    </>
  );
}

/** Finds a LoRA adapter. Once an adapter is chosen, only the others of its base model are offered. */
function AdapterFinder({ chosen, onAdd, onClose }: AddAdapterProps & { onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const { data: adapters, failureReason } = useQuery(loraAdaptersQuery());
  const base = chosen.find(({ adapter }) => adapter)?.adapter?.base_model;
  const isOffered = (adapter: { id: string; base_model: string }) =>
    !chosen.some(({ id }) => id === adapter.id) && (base === undefined || adapter.base_model === base);
  const offered = (adapters ?? [])
    .filter(isOffered)
    .map(({ id, model, base_model }) => ({ id, label: model || id, hint: base_model, run: () => onAdd(id) }));
  return (
    <Finder
      title="Add an adapter"
      label="Model or base model"
      typed={typed}
      onType={setTyped}
      found={matchingCommands(offered, typed).slice(0, MOST_FOUND)}
      isLooking={adapters === undefined && failureReason === null}
      failure={failureReason}
      nothing={offered.length ? undefined : `No ${base ? `other LoRA adapter of ${base}` : "LoRA adapter"}.`}
      onClose={onClose}
    />
  );
}
