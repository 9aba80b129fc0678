import { cutPieces } from "@/lib/text/cutPieces";

/**
 * A name in one line. If there is too little room, the part that it shares with its family is cut off, and the part that
 * tells it apart stays. The whole name shows on hover, and where a link or button around it has the focus.
 */
export function CutName({ name }: { name: string }) {
  const [shared, own] = cutPieces(name);
  if (!shared) {
    return (
      <span className="block truncate" title={name}>
        <bdi>{name}</bdi>
      </span>
    );
  }
  return (
    <span className="block" title={name}>
      <span className="sr-only">{name}</span>
      <span
        aria-hidden="true"
        className="flex max-w-full whitespace-pre in-focus-visible:relative in-focus-visible:z-10 in-focus-visible:w-max in-focus-visible:max-w-none in-focus-visible:rounded in-focus-visible:bg-surface"
      >
        {/* A browser never cuts the first character, so it is one without a width */}
        <span className="min-w-4 shrink-[9999] truncate">{`\u200b${shared}`}</span>
        <bdi className="min-w-0 truncate">{own}</bdi>
      </span>
    </span>
  );
}
