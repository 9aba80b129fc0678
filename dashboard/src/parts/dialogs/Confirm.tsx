import type { ReactNode } from "react";

import { Modal } from "./Modal";
import { Failure } from "@/parts/page/Notice";

interface ConfirmProps {
  title: string;
  /** What the button says that does it. */
  action: string;
  /** What has become of it; the dialog stays open until its owner closes it. */
  doing: { isPending: boolean; error: unknown };
  /** Why it cannot be done; then it is not offered. */
  refusal?: string | undefined;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
}

/** Asks before something is gone for good. */
export function Confirm({ title, action, doing, refusal, onConfirm, onClose, children }: ConfirmProps) {
  return (
    <Modal title={title} onClose={onClose}>
      <div className="grid gap-3 break-words">
        {children}
        {refusal && <p className="text-warn">{refusal}</p>}
        {doing.error != null && <Failure asked error={doing.error} />}
      </div>
      {!refusal && (
        <div className="mt-5 flex flex-wrap justify-end gap-2">
          <button type="button" className="button" onClick={onClose}>
            Keep it
          </button>
          <button type="button" className="button button-danger" disabled={doing.isPending} onClick={onConfirm}>
            {action}
          </button>
        </div>
      )}
    </Modal>
  );
}
