import { type MouseEvent, type ReactNode, useId, useLayoutEffect, useRef } from "react";

import { Icon } from "@/components/basics/Icon";

interface ModalProps {
  title: string;
  onClose: () => void;
  /** Whether only the content of the dialog can close it. */
  stays?: boolean;
  children: ReactNode;
}

/**
 * A dialog of the browser, which keeps the focus inside. It is open while the component is mounted. Its button, the key
 * Escape and a click beside it close it.
 */
export function Modal({ title, onClose, stays = false, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const beganBeside = useRef(false); // a text selection may begin inside the dialog and end beside it
  // The browser returns the focus only if the dialog is closed before it is removed, so this is a layout effect.
  useLayoutEffect(() => {
    const opened = dialog.current;
    if (!opened?.open) opened?.showModal();
    return () => opened?.close();
  }, []);
  const leave = () => {
    if (!stays) onClose();
    else if (!dialog.current?.open) dialog.current?.showModal(); // browsers always close a dialog at the second Escape
  };
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-noninteractive-element-interactions -- Escape does the same
    <dialog
      ref={dialog}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        leave();
      }}
      onClose={() => dialog.current?.open || leave()}
      onMouseDown={(event) => (beganBeside.current = isBeside(event))}
      onClick={(event) => beganBeside.current && isBeside(event) && leave()}
      className="card max-h-[85dvh] w-[min(28rem,calc(100vw-2rem))] p-5 text-ink"
    >
      <h2 id={heading} className={`mb-3 ${stays ? "" : "pr-8"}`}>
        {title}
      </h2>
      {children}
      {/* The button comes last, so that the focus starts at the content. */}
      {!stays && (
        <button
          type="button"
          aria-label="Close"
          className="absolute top-1 right-1 grid size-[44px] place-items-center rounded text-muted hover:bg-sunken"
          onClick={onClose}
        >
          <Icon name="close" />
        </button>
      )}
    </dialog>
  );
}

function isBeside({ currentTarget, target, clientX: x, clientY: y }: MouseEvent): boolean {
  const { left, right, top, bottom } = currentTarget.getBoundingClientRect();
  return target === currentTarget && (x < left || x > right || y < top || y > bottom);
}
