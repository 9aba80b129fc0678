import { messageOf } from "@/api/failures";
import { Notice } from "@/parts/page/Notice";

/** In the place of a page that cannot be drawn. */
export function Broken({ error }: { error: unknown }) {
  return (
    <Notice tone="bad">
      <p className="break-words">This page cannot be shown. {messageOf(error)}</p>
      <button type="button" className="button mt-2" onClick={() => location.reload()}>
        Load it again
      </button>
    </Notice>
  );
}
