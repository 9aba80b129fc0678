import { useEffect, useState } from "react";

import { ConfirmJobAction, type FinalAction } from "@/components/dialogs/ConfirmJobAction";
import { ErrorDialog } from "@/components/dialogs/ErrorDialog";
import type { Job } from "@/types/api";

import { Palette } from "./Palette";

/** The button that opens the command palette. Ctrl-K and ⌘K open it on every page. */
export function PaletteButton() {
  const [open, setOpen] = useState(false);
  const [confirming, setConfirming] = useState<{ job: Job; action: FinalAction } | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) setOpen(true);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return (
    <>
      <button type="button" className="button text-muted" aria-keyshortcuts="Control+K Meta+K" onClick={() => setOpen(true)}>
        Go to…
        <kbd aria-hidden="true" className="font-mono text-xs max-sm:hidden">
          Ctrl K
        </kbd>
      </button>
      {open && <Palette onClose={() => setOpen(false)} handlers={{ onConfirm: (job, action) => setConfirming({ job, action }), onFailure: setFailure }} />}
      {confirming && <ConfirmJobAction {...confirming} onClose={() => setConfirming(null)} />}
      {failure !== null && <ErrorDialog error={failure} onClose={() => setFailure(null)} />}
    </>
  );
}
