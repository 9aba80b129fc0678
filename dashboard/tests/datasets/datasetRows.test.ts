import { describe, expect, test } from "vitest";

import { type Row, rowsOf } from "@/lib/datasets/datasetRows";

const one = (row: unknown): Row => rowsOf(JSON.stringify(row), true, 1)[0] as Row;
const said = (role: string, text: string) => ({ role, text, notes: [] });

describe("the first rows of a file", () => {
  test("end before a line that is cut off", () => {
    const text = '{"messages": []}\n{"messages": []}\n{"mess';
    expect(rowsOf(text, false, 9)).toHaveLength(2);
    expect(rowsOf(text, true, 9)[2]).toEqual({ kind: "text", text: '{"mess' });
  });

  test("are as many as asked for, without empty lines and without a byte order mark", () => {
    const rows = rowsOf('\uFEFF{"messages": []}\r\n\r\n{"messages": []}\n', true, 1);
    expect(rows).toEqual([{ kind: "chat", messages: [] }]);
    expect(rowsOf('{"messages": []}\r\n\r\n{"messages": []}\n', true, 9)).toHaveLength(2);
  });

  test("include the only line even if it is cut off", () => {
    expect(rowsOf("a very long line", false, 9)).toEqual([{ kind: "text", text: "a very long line" }]);
  });

  test("are text if they are not objects", () => {
    for (const line of ["null", "1", "[1]", '"a"', '{"other": 1}']) {
      expect(rowsOf(line, true, 1)).toEqual([{ kind: "text", text: line }]);
    }
  });
});

test("a conversation shows its texts, and names content that is not text", () => {
  const parts = [{ type: "text", text: "look" }, { type: "image_url", image_url: { url: "x" } }];
  const tool_calls = [{ function: { name: "find", arguments: '{"q": 1}' } }];
  const messages = [
    { role: "user", content: parts },
    { role: "assistant", content: null, tool_calls, weight: 0 },
    "no message",
  ];
  expect(one({ messages })).toEqual({
    kind: "chat",
    messages: [
      said("user", "look\n[image_url]"),
      { role: "assistant", text: "", notes: ["weight 0", 'calls find({"q": 1})'] },
    ],
  });
});

describe("a pair of answers is read", () => {
  const pair = {
    kind: "preference",
    prompt: [said("user", "q")],
    preferred: [said("assistant", "good")],
    other: [said("assistant", "bad")],
  };
  const [q, good, bad] = [["user", "q"], ["assistant", "good"], ["assistant", "bad"]].map(([role, content]) => ({ role, content }));

  test("in OpenAI's form", () => {
    expect(one({ input: { messages: [q] }, preferred_output: [good], non_preferred_output: [bad] })).toEqual(pair);
  });

  test("in TRL's form, with the prompt apart or in both answers", () => {
    expect(one({ prompt: [q], chosen: [good], rejected: [bad] })).toEqual(pair);
    expect(one({ chosen: [q, good], rejected: [q, bad] })).toEqual(pair);
  });

  test("in ShareGPT's form", () => {
    const turn = (from: string, value: string) => ({ from, value });
    const row = { conversations: [turn("human", "q")], chosen: turn("gpt", "good"), rejected: turn("gpt", "bad") };
    expect(one(row)).toEqual(pair);
  });
});

test("a labelled answer is separated from its prompt", () => {
  const messages = [{ role: "user", content: "q" }, { role: "assistant", content: "a" }];
  const expected = { kind: "labelled", prompt: [said("user", "q")], answer: [said("assistant", "a")], label: false };
  expect(one({ messages, label: false })).toEqual(expected);
  expect(one({ prompt: messages.slice(0, 1), completion: messages.slice(1), label: false })).toEqual(expected);
});

test("a prompt shows its messages, and what graders read beside them", () => {
  const messages = [{ role: "user", content: "2 + 3" }];
  const prompt = [said("user", "2 + 3")];
  expect(one({ messages, tools: [], sum: 5 })).toEqual({ kind: "prompt", prompt, beside: '{"sum":5}' });
  expect(one({ messages })).toEqual({ kind: "prompt", prompt, beside: "" });
});
