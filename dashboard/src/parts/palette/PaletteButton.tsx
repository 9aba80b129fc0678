import { useEffect, useState } from "react";

import type { Job } from "@/api/types";
import { ConfirmCancel } from "@/parts/ConfirmCancel";
import { Modal } from "@/parts/Modal";
import { Failure } from "@/parts/Notice";

import { Palette } from "./Palette";

/** Opens the command palette, as Ctrl-K and ⌘K do from anywhere. */
export function PaletteButton() {
  const [open, setOpen] = useState(false);
  const [cancelling, setCancelling] = useState<Job | null>(null);
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
      {open && <Palette onClose={() => setOpen(false)} handlers={{ onCancelJob: setCancelling, onFailure: setFailure }} />}
      {cancelling && <ConfirmCancel job={cancelling} onClose={() => setCancelling(null)} />}
      {failure !== null && <Failed error={failure} onClose={() => setFailure(null)} />}
    </>
  );
}

function Failed({ error, onClose }: { error: unknown; onClose: () => void }) {
  return (
    <Modal title="It went wrong" onClose={onClose}>
      <Failure asked error={error} />
      <div className="mt-5 flex justify-end">
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Modal>
  );
}
