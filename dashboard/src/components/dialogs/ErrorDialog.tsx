import { Failure } from "@/components/page/Notice";

import { Modal } from "./Modal";

/** Says that an action failed, where the page itself has no room for the message. */
export function ErrorDialog({ error, onClose }: { error: unknown; onClose: () => void }) {
  return (
    <Modal title="Something went wrong" onClose={onClose}>
      <Failure asked error={error} />
    </Modal>
  );
}
