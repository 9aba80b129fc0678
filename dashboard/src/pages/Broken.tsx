import { useRouter } from "@tanstack/react-router";

import { isPassing, messageOf } from "@/api/failures";
import { Prose } from "@/components/basics/Prose";
import { Notice } from "@/components/page/Notice";

/** Shown instead of a page that failed to load or to render. */
export function Broken({ error }: { error: unknown }) {
  const router = useRouter();
  const isAway = isPassing(error);
  return (
    <Notice tone={isAway ? "warn" : "bad"}>
      <p className="break-words">
        {isAway ? "This page was not opened before, and its code could not be loaded." : "This page cannot be shown."}{" "}
        <Prose text={messageOf(error)} />
      </p>
      <button
        type="button"
        className="button mt-2"
        onClick={() => (isAway ? void router.invalidate() : location.reload())}
      >
        {isAway ? "Try again" : "Load it again"}
      </button>
    </Notice>
  );
}
