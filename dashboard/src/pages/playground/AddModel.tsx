import { useQuery } from "@tanstack/react-query";
import { type SubmitEvent, useId, useState } from "react";

import { modelNamesQuery } from "@/api/chat/models";
import { MOST_MODELS } from "@/lib/addresses/playgroundSearch";

interface AddModelProps {
  chosen: readonly string[];
  onAdd: (name: string) => void;
}

/** A field that suggests the project's models. Any other name, such as a checkpoint's, can be typed. */
export function AddModel({ chosen, onAdd }: AddModelProps) {
  const { data: names = [] } = useQuery(modelNamesQuery());
  const [typed, setTyped] = useState("");
  const suggestions = useId();
  const isFull = chosen.length >= MOST_MODELS;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    onAdd(typed.trim());
    setTyped("");
  };
  return (
    <form onSubmit={submit} className="flex min-w-0 flex-wrap gap-2">
      <input
        aria-label="Model"
        className="field w-72 max-w-full"
        placeholder={isFull ? `At most ${MOST_MODELS} models` : "Add a model…"}
        list={suggestions}
        autoComplete="off"
        required
        disabled={isFull}
        value={typed}
        onChange={({ target: { value } }) => setTyped(value)}
      />
      <datalist id={suggestions}>
        {names
          .filter((name) => !chosen.includes(name))
          .map((name) => (
            <option key={name} value={name} />
          ))}
      </datalist>
      <button type="submit" className="button" disabled={isFull}>
        Add
      </button>
    </form>
  );
}
