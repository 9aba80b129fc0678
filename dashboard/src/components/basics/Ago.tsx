import { useNow } from "@/lib/browser/useNow";
import { ago, dateTime } from "@/lib/text/format";

/** How long ago a moment was. The pointer shows its day and time. `unix` is in seconds. */
export function Ago({ unix }: { unix: number }) {
  return (
    <time dateTime={new Date(unix * 1000).toISOString()} title={dateTime(unix)}>
      {ago(unix, useNow())}
    </time>
  );
}
