import { useState } from "react";

import { shortcutsAreOn, switchShortcuts } from "@/lib/browser/shortcuts";
import { Modal } from "@/components/dialogs/Modal";

const KEYS = [
  ["/", "Search jobs"],
  ["j", "Next job"],
  ["k", "Previous job"],
  ["x", "Select or unselect the job"],
  ["Enter", "Open the job"],
  ["Ctrl K", "Go to a page or a job, or act on this job"],
  ["?", "Show this list"],
];

export function HelpDialog({ onClose }: { onClose: () => void }) {
  const [on, setOn] = useState(shortcutsAreOn);
  const change = (wanted: boolean) => {
    switchShortcuts(wanted);
    setOn(wanted);
  };
  return (
    <Modal title="Keyboard" onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-2">
        {KEYS.map(([key, meaning]) => (
          <div key={key} className="contents">
            <dt>
              <kbd className="rounded border border-line bg-sunken px-1.5 py-0.5 font-mono text-xs">{key}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <label className="mt-5 flex items-center gap-2">
        <input type="checkbox" checked={on} onChange={(event) => change(event.target.checked)} />
        Shortcuts of one key
      </label>
    </Modal>
  );
}
