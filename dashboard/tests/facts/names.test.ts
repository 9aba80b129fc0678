import { describe, expect, test } from "vitest";

import { promptMessages } from "@/lib/facts/promptMessages";
import { cutPieces } from "@/lib/text/cutPieces";

describe("a name that is cut", () => {
  test("of a fine-tuned model keeps its suffix and its id", () => {
    expect(cutPieces("ft:tiny:support-bot:support-r8:90cc222d071d")).toEqual(["ft:tiny:support-bot:", "support-r8:90cc222d071d"]);
    expect(cutPieces("ft:tiny:support-bot::90cc222d071d")).toEqual(["ft:tiny:support-bot:", "90cc222d071d"]);
  });

  test("of another kind keeps its end, and a short one is not cut", () => {
    expect(cutPieces("customer-support-2026-lr-0.0001")).toEqual(["customer-support-20", "26-lr-0.0001"]);
    expect(cutPieces("support-r8")).toEqual(["", "support-r8"]);
  });
});

describe("the prompt of a sample", () => {
  test("is a conversation, each message with its role", () => {
    const prompt = "system\nAnswer briefly.\nuser\nHello\nall of you\nassistant\nHi\nuser\nAnd now?\nassistant";
    expect(promptMessages(prompt)).toEqual([
      { role: "system", text: "Answer briefly." },
      { role: "user", text: "Hello\nall of you" },
      { role: "assistant", text: "Hi" },
      { role: "user", text: "And now?" },
    ]);
  });

  test.each(["2 + 2", "user\nwithout an end", "…tail of a long one\nuser\nHello\nassistant", "[INST] Hello [/INST]", ""])(
    "of another form stays a text: %j",
    (prompt) => expect(promptMessages(prompt)).toBeNull(),
  );
});
