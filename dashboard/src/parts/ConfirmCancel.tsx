import type { ReactNode } from "react";

import { Modal } from "./Modal";

interface ConfirmCancelProps {
  name: string;
  onClose: () => void;
  onConfirm: () => void;
  /** What went wrong with it. */
  children?: ReactNode;
}

export function ConfirmCancel({ name, onClose, onConfirm, children }: ConfirmCancelProps) {
  return (
    <Modal title="Cancel this job?" onClose={onClose}>
      <p className="break-words">
        <strong>{name}</strong> ends at once and cannot go on. Its log, curves and checkpoints stay.
      </p>
      {children}
      <div className="mt-5 flex justify-end gap-2">
        <button type="button" className="button" onClick={onClose}>
          Keep it
        </button>
        <button type="button" className="button button-danger" onClick={onConfirm}>
          Cancel job
        </button>
      </div>
    </Modal>
  );
}
