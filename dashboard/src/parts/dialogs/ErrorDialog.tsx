import { Modal } from "./Modal";
import { Failure } from "@/parts/page/Notice";

/** Tells that what somebody asked for was not done, where no page has a place for it. */
export function WentWrong({ error, onClose }: { error: unknown; onClose: () => void }) {
  return (
    <Modal title="It went wrong" onClose={onClose}>
      <Failure asked error={error} />
    </Modal>
  );
}
