import { CopyBlock } from "@/components/basics/CopyBlock";

import { Modal } from "./Modal";

/** Shows a new key or secret. No request returns it again, so only a button closes the dialog. */
export function ShownOnce({ title, value, onClose }: { title: string; value: string; onClose: () => void }) {
  return (
    <Modal title={title} stays onClose={onClose}>
      <p className="mb-3">Copy it now: it is not shown again.</p>
      <CopyBlock label={title} code={value} wraps />
      <div className="mt-5 flex justify-end">
        <button type="button" className="button button-primary" onClick={onClose}>
          I have copied it
        </button>
      </div>
    </Modal>
  );
}
