import type { ReactNode } from "react";

import { Failure } from "@/components/page/Notice";

import { Modal } from "./Modal";

interface ConfirmProps {
  title: string;
  /** The label of the button that does it. */
  action: string;
  /** The label of the button that leaves everything as it is. */
  keep?: string;
  /** The state of the action. The dialog stays open until its owner closes it. */
  mutation: { isPending: boolean; error: unknown };
  /** Why the action is not possible. With it, the dialog has no buttons. */
  refusal?: string | undefined;
  /** Whether the dialog cannot be left while the action runs. */
  staysWhilePending?: boolean;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
}

/** Asks before an action that cannot be undone. */
export function Confirm(props: ConfirmProps) {
  const { title, action, keep = "Keep it", mutation, refusal, staysWhilePending, onConfirm, onClose, children } = props;
  const stays = staysWhilePending === true && mutation.isPending;
  return (
    <Modal title={title} stays={stays} onClose={onClose}>
      <div className="grid gap-3 break-words">
        {children}
        {refusal && <p className="text-warn">{refusal}</p>}
        {mutation.error != null && <Failure asked error={mutation.error} />}
      </div>
      {!refusal && (
        <div className="mt-5 flex flex-wrap justify-end gap-2">
          <button type="button" className="button" disabled={stays} onClick={onClose}>
            {keep}
          </button>
          <button type="button" className="button button-danger" disabled={mutation.isPending} onClick={onConfirm}>
            {action}
          </button>
        </div>
      )}
    </Modal>
  );
}
