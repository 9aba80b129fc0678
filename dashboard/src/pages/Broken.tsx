import { messageOf } from "@/api/failures";
import { Notice } from "@/parts/page/Notice";

/** Shown instead of a page that failed to load or to render. */
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
