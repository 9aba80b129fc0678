import { useNow } from "@/lib/clock";
import { ago, dateTime } from "@/lib/format";

/** How long ago it was; the day and time when pointed at. `unix` in seconds. */
export function Ago({ unix }: { unix: number }) {
  return (
    <time dateTime={new Date(unix * 1000).toISOString()} title={dateTime(unix)}>
      {ago(unix, useNow())}
    </time>
  );
}
