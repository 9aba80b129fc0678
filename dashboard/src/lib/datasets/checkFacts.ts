import { counted, integer, rounded } from "@/lib/text/format";
import type { CheckReport, ConversationPreview } from "@/types/api";

/** A bar of a picture: its name, its number of rows, and its length, from 0 to 1. */
export interface Bar {
  name: string;
  rows: number;
  share: number;
}

const MOST_ANSWERS = 12;
const REPEATED: readonly (readonly [code: string, name: string])[] = [
  ["exact_duplicate", "the same as an earlier row"],
  ["near_duplicate", "nearly an earlier row"],
  ["contradiction", "another answer to an earlier prompt"],
  ["leaked_row", "in the validation file, too"],
  ["leaked_near_row", "nearly in the validation file"],
];

/** Returns the bars of numbers of rows. The longest bar has the most rows. */
function barsOf(rows: readonly (readonly [name: string, rows: number])[]): Bar[] {
  const most = Math.max(1, ...rows.map(([, count]) => count));
  return rows.map(([name, count]) => ({ name, rows: count, share: count / most }));
}

/** Returns the rows by their length in tokens. */
export function lengthBars({ lengths }: CheckReport): Bar[] {
  const bins = lengths?.histogram ?? [];
  return barsOf(
    bins.map(({ tokens, rows }, at) => {
      const next = bins[at + 1]?.tokens ?? tokens + (bins[1]?.tokens ?? 1);
      return [next - tokens > 1 ? `${integer(tokens)} to ${integer(next - 1)} tokens` : counted(tokens, "token"), rows];
    }),
  );
}

/** Returns the rows that repeat, contradict or leak. */
export function repeatBars({ counts }: CheckReport): Bar[] {
  const found = new Map(counts.map(({ code, count }) => [code, count]));
  return barsOf(REPEATED.flatMap(([code, name]) => (found.has(code) ? [[name, found.get(code) ?? 0] as const] : [])));
}

/** Returns the most frequent answers, if the file has few. */
export function answerBars({ answers }: CheckReport): Bar[] {
  const shown = (answers ?? []).slice(0, MOST_ANSWERS);
  return barsOf(shown.map(({ answer, rows }) => [answer, rows]));
}

/** Returns how many tokens the rows have, and how that is known. */
export function lengthWords({ lengths, rows }: CheckReport): string {
  if (!lengths) return "No row is correct.";
  const measured = lengths.measured_rows ?? 0;
  const how = measured === 0 ? "estimated" : measured >= rows ? "counted" : `counted for ${counted(measured, "row")}`;
  const { shortest, median, longest, total } = lengths;
  const spread = `shortest ${integer(shortest)}, median ${integer(median)}, longest ${integer(longest)}`;
  return `${integer(total)} tokens in all (${how}): ${spread}.`;
}

/** Returns in which languages the answers are, with their shares; nothing if none is known. */
export function languageWords({ languages }: CheckReport): string {
  if (!languages?.length) return "";
  const total = languages.reduce((sum, { rows }) => sum + rows, 0);
  const names = new Intl.DisplayNames("en", { type: "language" });
  const shares = languages.map(({ language, rows }) => `${names.of(language) ?? language} ${rounded((100 * rows) / total, 3)} %`);
  return ` Languages of the answers: ${shares.join(", ")}.`;
}

/** Returns what training makes of a conversation. */
export function conversationWords({ tokens, learnt_tokens, cut_tokens, desirable }: ConversationPreview): string {
  const cut = cut_tokens ? `, ${integer(cut_tokens)} more are cut` : "";
  const unwanted = desirable ? "" : " to make less likely";
  return `${integer(tokens)} tokens, ${integer(learnt_tokens)} learnt${unwanted}${cut}`;
}

/** Returns the numbers of lines in a text such as "1, 3 5", at most 20 of them and each once. */
export function linesIn(text: string): number[] {
  const numbers = (text.match(/\d+/g) ?? []).map(Number).filter((line) => line > 0);
  return [...new Set(numbers)].slice(0, 20);
}

/** Says which row is meant. `word` is what the numbers of rows count: lines, or rows that have no line of their own. */
export function lineWords(word: string, number: number | null | undefined): string {
  return `${word === "row" ? "Row" : "Line"} ${number ?? ""}`.trim();
}
