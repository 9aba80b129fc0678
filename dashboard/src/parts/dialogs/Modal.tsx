import { type MouseEvent, type ReactNode, useId, useLayoutEffect, useRef } from "react";

import { Icon } from "@/parts/basics/Icon";

interface ModalProps {
  title: string;
  onClose: () => void;
  /** Cannot be left but by what is in it. */
  stays?: boolean;
  children: ReactNode;
}

/**
 * A dialog of the browser's own, which keeps the focus in it. Mounted means open. It is left by its button, by Escape and
 * by a press beside it.
 */
export function Modal({ title, onClose, stays = false, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const beganBeside = useRef(false); // what is marked with the mouse may end beside it
  // Before it is taken out: only then the browser gives the focus back.
  useLayoutEffect(() => {
    const opened = dialog.current;
    if (!opened?.open) opened?.showModal();
    return () => opened?.close();
  }, []);
  const leave = () => {
    if (!stays) onClose();
    else if (!dialog.current?.open) dialog.current?.showModal(); // a browser closes it at the second Escape, asked or not
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
      {/* Last, so that the focus begins at what the dialog is for. */}
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
