import { type ReactNode, useEffect, useId, useRef } from "react";

interface ModalProps {
  title: string;
  onClose: () => void;
  children: ReactNode;
}

/** A dialog of the browser's own, which keeps the focus in it and gives it back. Mounted means open. */
export function Modal({ title, onClose, children }: ModalProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const opened = dialog.current;
    if (!opened?.open) opened?.showModal();
    return () => opened?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={heading}
      onCancel={onClose}
      className="card max-h-[85dvh] w-[min(28rem,calc(100vw-2rem))] p-5 text-ink"
    >
      <h2 id={heading} className="mb-3">
        {title}
      </h2>
      {children}
    </dialog>
  );
}
