/** Writes numbers and times for people. A missing value is written as an en dash. */

export const NOTHING = "–";

export const GIGA = 1e9;
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

type Maybe<T> = T | null | undefined;

export function integer(value: Maybe<number>): string {
  return value == null ? NOTHING : whole.format(Math.round(value));
}

/** `1 job` or `12 jobs`. */
export function counted(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${integer(count)} ${noun}s`;
}

/** Writes four significant digits. Very small and very large numbers get an exponent, and three digits. */
export function significant(value: Maybe<number>): string {
  if (value == null || !Number.isFinite(value)) return NOTHING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2).replace("e+", "e");
  return size >= 1000 ? whole.format(Math.round(value)) : value.toPrecision(4);
}

/** Writes a number with at most so many significant digits, and no zeros at its end. */
export function rounded(value: number, digits: number): string {
  const size = Math.abs(value);
  if (size > 0 && (size < 1e-3 || size >= 1e6)) {
    return Number(value.toPrecision(digits)).toExponential().replace("e+", "e");
  }
  return new Intl.NumberFormat("en", { maximumSignificantDigits: digits }).format(value);
}

/** Writes two significant digits: a difference is not more precise than that. */
export function roughly(value: number): string {
  return significant(value).includes("e") ? value.toExponential(1).replace("e+", "e") : String(Number(value.toPrecision(2)));
}

export function bytes(value: Maybe<number>): string {
  if (value == null) return NOTHING;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  let size = value;
  while (size >= 1000 && at < units.length - 1) {
    size /= 1000;
    at += 1;
  }
  return `${at && size < 10 ? size.toFixed(1) : Math.round(size)} ${units[at]}`;
}

/** Always writes gigabytes, for values that share an axis: `4.225 GB`. */
export function gigabytes(value: Maybe<number>): string {
  return value == null || Number.isNaN(value) ? NOTHING : `${significant(value / GIGA)} GB`;
}

/** `12 s` or `0.25 s`; from a minute on `1:05`, from an hour on `2:01:05`. */
export function elapsed(seconds: number): string {
  if (seconds < MINUTE) return `${Number(seconds.toPrecision(3))} s`;
  const left = Math.round(seconds);
  const parts = [Math.floor(left / HOUR), Math.floor((left % HOUR) / MINUTE), left % MINUTE];
  if (parts[0] === 0) parts.shift();
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

/** `1.2M`. */
export function compact(value: number): string {
  return short.format(value);
}

/** Two units at most: `42 s`, `7 min`, `3 h 05 min`, `2 d 4 h`. */
export function duration(seconds: Maybe<number>): string {
  if (seconds == null) return NOTHING;
  const left = Math.max(0, Math.round(seconds));
  if (left < MINUTE) return `${left} s`;
  if (left < HOUR) return `${Math.floor(left / MINUTE)} min`;
  const minutes = Math.floor((left % HOUR) / MINUTE);
  if (left < DAY) return `${Math.floor(left / HOUR)} h ${String(minutes).padStart(2, "0")} min`;
  return `${Math.floor(left / DAY)} d ${Math.floor((left % DAY) / HOUR)} h`;
}

/** Writes a short time, in milliseconds up to a second and in seconds beyond. */
export function milliseconds(value: number): string {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** Writes how long ago a moment was, in one unit. `unix` and `now` are in seconds. */
export function ago(unix: number, now: number): string {
  const past = now - unix;
  if (past < MINUTE) return "just now";
  if (past < HOUR) return `${Math.floor(past / MINUTE)} min ago`;
  return past < DAY ? `${Math.floor(past / HOUR)} h ago` : `${Math.floor(past / DAY)} d ago`;
}

/** Writes day and time in the reader's time zone. `unix` is in seconds. */
export function dateTime(unix: Maybe<number>): string {
  return unix == null ? NOTHING : moment.format(unix * 1000);
}

export function timeOfDay(unix: number): string {
  return clock.format(unix * 1000);
}

/** `train_mean_token_accuracy` becomes `train mean token accuracy`. */
export function spoken(name: string): string {
  return name.replaceAll("_", " ");
}
