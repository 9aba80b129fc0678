import { expect, test } from "vitest";

import { type Chunk, newAnswer, tokensOfText, tokensPerSecond, withChunk } from "@/lib/chat/answer";

function aChunk(content: string | null, logprob = 0, rest: Partial<Chunk> = {}): Chunk {
  const logprobs = content === null ? null : { content: [{ token: content, logprob, top_logprobs: [{ token: "x", logprob: -1 }] }] };
  return { id: "chatcmpl-1", model: "ft:b", choices: [{ delta: { content }, finish_reason: null, logprobs }], ...rest };
}

test("an answer grows by its chunks, and knows when its first text came", () => {
  let answer = withChunk(newAnswer("prod"), aChunk(null), 10);
  expect([answer.state, answer.model, answer.waited]).toEqual(["writing", "ft:b", null]);
  answer = withChunk(answer, aChunk("Hel"), 30);
  answer = withChunk(answer, aChunk("lo", Math.log(0.25)), 50);
  expect([answer.text, answer.waited, answer.wrote]).toEqual(["Hello", 30, 20]);
  expect(tokensOfText(answer)?.map(({ probability }) => probability)).toEqual([1, 0.25]);
  expect(answer.tokens[0]?.likely).toEqual([{ text: "x", probability: Math.exp(-1) }]);
});

test("the last chunk has no choice, but tells how long the answer is", () => {
  const begun = withChunk(withChunk(newAnswer("b"), aChunk("a"), 100), aChunk("b"), 1100);
  const answer = withChunk(begun, { id: "chatcmpl-1", model: "b", choices: [], usage: { prompt_tokens: 3, completion_tokens: 11 } }, 1100);
  expect(answer.text).toBe("ab");
  expect(tokensPerSecond(answer)).toBe(10);
  expect(tokensPerSecond(begun)).toBeNull();
});

test("tokens that are not whole characters are not shown one by one", () => {
  const answer = { ...newAnswer("b"), text: "é", tokens: [{ text: "\\xc3", probability: 1, likely: [] }] };
  expect(tokensOfText(answer)).toBeNull();
});
