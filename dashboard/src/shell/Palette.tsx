import { useState } from "react";

import { Finder } from "@/components/finder/Finder";

import { type JobHandlers, useCommands } from "./useCommands";

interface PaletteProps {
  onClose: () => void;
  handlers: JobHandlers;
}

/** The dialog in which pages, jobs and actions are found by their names. */
export function Palette({ onClose, handlers }: PaletteProps) {
  const [typed, setTyped] = useState("");
  const found = useCommands(typed, handlers);
  return (
    <Finder
      title="Go to"
      label="Page, job or action"
      typed={typed}
      onType={setTyped}
      {...found}
      onClose={onClose}
    />
  );
}
