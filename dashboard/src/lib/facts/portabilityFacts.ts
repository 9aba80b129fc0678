/** What the report on a runtime says, in words. */

import { counted, significant } from "@/lib/text/format";
import type { Portability, RuntimeReport } from "@/types/api";

type Tone = "good" | "warn" | "bad" | "muted";

const VERDICTS: Record<RuntimeReport["status"], { words: string; tone: Tone }> = {
  works: { words: "works", tone: "good" },
  differs: { words: "answers differently", tone: "warn" },
  fails: { words: "does not load", tone: "bad" },
  unsupported: { words: "cannot load it in any form", tone: "muted" },
  not_measured: { words: "not measured here", tone: "muted" },
};

/** The verdict on a runtime. A rule speaks of loading only, so it says so. */
export function verdictOf({ status, measured }: RuntimeReport): { words: string; tone: Tone } {
  return status === "works" && !measured ? { words: "should load, by its documentation", tone: "muted" } : VERDICTS[status];
}

/** What the runtime is given: the adapter as it is, or an export of it. */
export function neededForm({ needs }: RuntimeReport): string {
  if (needs === null) return "—";
  return needs === "as_it_is" ? "as it is" : `the export ${needs}`;
}

/** The figures of a measurement, such as "20 of 20 equal, within 0.0004 nats". Null without one. */
export function figuresOf({ figures }: RuntimeReport): string | null {
  if (!figures) return null;
  const equal = `${String(figures.greedy_equal)} of ${String(figures.prompts)} equal`;
  const close = figures.max_logprob_difference;
  return close === null ? equal : `${equal}, within ${significant(close)} nats`;
}

/** What the runtimes were asked, such as "on 20 prompts: 3 rows of the validation file, 17 general ones". */
export function askedWords(prompts: NonNullable<Portability["prompts"]>): string {
  const rows = prompts.from_validation_file;
  const from = [
    rows && `${counted(rows, "row")} of the validation file`,
    prompts.from_general_list && `${String(prompts.from_general_list)} general ones`,
  ];
  return `on ${counted(prompts.count, "prompt")}: ${from.filter(Boolean).join(", ")}`;
}
