import { useEffect, useState } from "react";

import type { Job } from "@/api/types";
import { ConfirmCancel } from "@/parts/ConfirmCancel";

import { Palette } from "./Palette";

/** Opens the command palette, as Ctrl-K and ⌘K do from anywhere. */
export function PaletteButton() {
  const [open, setOpen] = useState(false);
  const [cancelling, setCancelling] = useState<Job | null>(null);
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
      {open && <Palette onClose={() => setOpen(false)} onCancelJob={setCancelling} />}
      {cancelling && <ConfirmCancel job={cancelling} onClose={() => setCancelling(null)} />}
    </>
  );
}
