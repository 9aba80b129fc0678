import { useNow } from "@/lib/browser/useNow";
import { ago, dateTime } from "@/lib/text/format";

/** How long ago it was; the day and time when pointed at. `unix` in seconds. */
export function Ago({ unix }: { unix: number }) {
  return (
    <time dateTime={new Date(unix * 1000).toISOString()} title={dateTime(unix)}>
      {ago(unix, useNow())}
    </time>
  );
}
