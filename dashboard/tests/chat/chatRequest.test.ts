import { expect, test } from "vitest";

import { modelsOf, parsePlaygroundSearch, withModel, withoutModel } from "@/lib/addresses/playgroundSearch";
import { chatRequest, cliOf, curlOf, pythonOf, schemaProblem } from "@/lib/chat/chatRequest";
import { firstPrompt } from "@/lib/chat/firstPrompt";

const PROMPT = { role: "user", content: "It's?" } as const;

test("a request holds only the settings that were made", () => {
  expect(chatRequest("b", [PROMPT], {})).toEqual({ model: "b", messages: [PROMPT] });
  const request = chatRequest("b", [PROMPT], { system: "Be brief.", temperature: 0, max_tokens: 5, schema: '{"type": "object"}' });
  expect(request).toEqual({
    model: "b",
    messages: [{ role: "system", content: "Be brief." }, PROMPT],
    temperature: 0,
    max_completion_tokens: 5,
    response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: { type: "object" } } },
  });
});

test("a schema that is not a JSON object is named before it is sent", () => {
  expect(schemaProblem("")).toBeNull();
  expect(schemaProblem("[1]")).toMatch("JSON object");
  expect(schemaProblem("{")).toMatch("not JSON");
});

test("the code asks the same model the same", () => {
  const request = chatRequest("ft:b", [PROMPT], { system: "Be brief.", max_tokens: 5 });
  expect(pythonOf(request, "http://x")).toContain('model="ft:b"');
  expect(pythonOf(request, "http://x")).toContain('base_url="http://x/v1"');
  expect(curlOf(request, "http://x")).toContain("http://x/v1/chat/completions");
  expect(cliOf(request, "http://x").split(" \\\n  ")).toEqual([
    "printf %s 'It'\\''s?' | tunery chat ft:b",
    "--base-url http://x/v1",
    "--system 'Be brief.'",
    "--max-tokens 5",
  ]);
});

test("an address names each model once, and at most four", () => {
  expect(modelsOf("a, b,,a,c,d,e")).toEqual(["a", "b", "c", "d"]);
  expect(withModel("a", "b")).toBe("a,b");
  expect(withoutModel("a", "a")).toBeUndefined();
  expect(parsePlaygroundSearch({ models: "a", temperature: 0, seed: "x", store: true })).toEqual({ models: "a", temperature: 0, store: true });
});

test("the first row of a file is a prompt with the answer that the file holds", () => {
  const chat = { messages: [{ role: "system", content: "S" }, PROMPT, { role: "assistant", content: "Yes." }] };
  expect(firstPrompt(JSON.stringify(chat), true)).toEqual({ system: "S", prompt: "It's?", expected: "Yes." });
  const labelled = { prompt: [PROMPT], completion: [{ role: "assistant", content: "No." }], label: false };
  expect(firstPrompt(JSON.stringify(labelled), true)?.expected).toBeNull();
  const asked = { messages: [...chat.messages, { role: "user", content: "And now?" }] };
  expect(firstPrompt(JSON.stringify(asked), true)).toEqual({ system: "S", prompt: "And now?", expected: null });
  expect(firstPrompt("plain text", true)).toBeNull();
});
