import { expect, test } from "vitest";

import { answerBars, conversationWords, languageWords, lengthBars, lengthWords, linesIn, repeatBars } from "@/lib/datasets/checkFacts";
import type { CheckReport, ConversationPreview } from "@/types/api";

const REPORT = {
  rows: 30,
  counts: [
    { code: "contradiction", severity: "warning", count: 5 },
    { code: "exact_duplicate", severity: "warning", count: 10 },
    { code: "secret", severity: "error", count: 1 },
  ],
  answers: [
    { answer: "yes", rows: 20 },
    { answer: "no", rows: 10 },
  ],
  lengths: {
    shortest: 3,
    median: 12,
    p95: 25,
    longest: 29,
    total: 400,
    bytes_per_token: 4,
    measured_rows: 30,
    histogram: [
      { tokens: 0, rows: 5 },
      { tokens: 10, rows: 20 },
      { tokens: 20, rows: 5 },
    ],
  },
} as unknown as CheckReport;

test("bars name their rows, and the longest is whole", () => {
  expect(lengthBars(REPORT)).toEqual([
    { name: "0 to 9 tokens", rows: 5, share: 0.25 },
    { name: "10 to 19 tokens", rows: 20, share: 1 },
    { name: "20 to 29 tokens", rows: 5, share: 0.25 },
  ]);
  expect(repeatBars(REPORT).map(({ name, share }) => [name, share])).toEqual([
    ["the same as an earlier row", 1],
    ["another answer to an earlier prompt", 0.5],
  ]);
  expect(answerBars(REPORT).map(({ name, rows }) => [name, rows])).toEqual([
    ["yes", 20],
    ["no", 10],
  ]);
});

test("a file without correct rows has no bars", () => {
  const none = { ...REPORT, lengths: null, answers: null, counts: [] };
  expect([lengthBars(none), repeatBars(none), answerBars(none)]).toEqual([[], [], []]);
  expect(lengthWords(none)).toBe("No row is correct.");
});

test("languages have names and shares", () => {
  const languages = [
    { language: "en", rows: 970 },
    { language: "de", rows: 30 },
  ];
  expect(languageWords({ ...REPORT, languages })).toBe(" Languages of the answers: English 97 %, German 3 %.");
  expect(languageWords({ ...REPORT, languages: null })).toBe("");
});

test("lengths say how they are known", () => {
  expect(lengthWords(REPORT)).toBe("400 tokens in all (counted): shortest 3, median 12, longest 29.");
  const some = (measured_rows: number) =>
    lengthWords({ ...REPORT, lengths: REPORT.lengths && { ...REPORT.lengths, measured_rows } });
  expect(some(0)).toContain("(estimated)");
  expect(some(10)).toContain("(counted for 10 rows)");
});

test("a conversation says what training makes of it", () => {
  const shown = { tokens: 8, learnt_tokens: 3, cut_tokens: 2, desirable: false } as ConversationPreview;
  expect(conversationWords(shown)).toBe("8 tokens, 3 learnt to make less likely, 2 more are cut");
});

test("lines are read from any list of numbers", () => {
  expect(linesIn("3, 8 8;0")).toEqual([3, 8]);
  expect(linesIn("none")).toEqual([]);
  expect(linesIn(Array.from({ length: 30 }, (_, at) => at + 1).join())).toHaveLength(20);
});
