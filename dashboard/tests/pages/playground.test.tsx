import { screen, waitFor, within } from "@testing-library/react";
import { http } from "msw";
import { expect, test } from "vitest";

import { anAdapter } from "../service/objects";
import { button, dialog, fill, open, region, see, unsee, wordsOf } from "../service/open";
import { get, listOf, post, refusal } from "../service/service";

const CHAT = "*/v1/chat/completions";

/** The stream of an answer of these tokens. */
function answer(...tokens: string[]) {
  const chunk = (content: string) =>
    `data: ${JSON.stringify({ id: "chatcmpl-1", model: "tiny", choices: [{ index: 0, delta: { content }, finish_reason: null, logprobs: null }] })}\n\n`;
  const usage = { prompt_tokens: 3, completion_tokens: tokens.length, total_tokens: 3 + tokens.length };
  const last = `data: ${JSON.stringify({ id: "chatcmpl-1", model: "tiny", choices: [{ index: 0, delta: {}, finish_reason: "stop" }], usage })}\n\ndata: [DONE]\n\n`;
  return new Response(tokens.map(chunk).join("") + last, { headers: { "content-type": "text/event-stream" } });
}

async function send(user: ReturnType<typeof open>["user"], prompt: string) {
  await fill(user, await screen.findByLabelText("Prompt"), prompt);
  await user.click(await button("Send"));
}

test("a project without an adapter begins with a base model, and with prompts", async () => {
  const { user } = open("/playground");
  await region("tiny");
  expect(within(screen.getByRole("region", { name: "Prompts to begin with" })).getAllByRole("button")).toHaveLength(3);
  await user.click(await button("Remove tiny"));
  await see("Add a model above");
});

test("it begins with the newest adapter beside its base model", async () => {
  const { user } = open("/playground", get("/v1/adapters", listOf(anAdapter("adapter-1", { model: "ft:tiny:shop:sql:1" }))));
  await region("tiny");
  await region("ft:tiny:shop:sql:1");
  for (const model of ["tiny", "ft:tiny:shop:sql:1"]) await user.click(await button(`Remove ${model}`));
  await see("Add a model above");
  await unsee("Reading…");
});

test("the rendered prompt is shown with the ids of its tokens", async () => {
  const tokens = { count: 2, max_model_len: 512, tokens: [17, 4], token_strs: ["Be brief.", "Who?"], prompt: "Be brief.Who?" };
  const asked: unknown[] = [];
  const tokenize = post("/v1/tokenize", ({ body }) => {
    asked.push(body);
    return tokens;
  });
  const { user } = open("/playground?models=tiny&system=Be+brief.", http.post(CHAT, () => answer("I.")), tokenize);
  await send(user, "Who?");
  await see("answer of 1 token");
  await user.click(await button("Tokens"));
  await see("2 tokens of the model’s 512");
  const shown = await dialog("The prompt as the model gets it");
  expect(wordsOf(shown.getByRole("region", { name: "Rendered prompt" }))).toBe("Be brief.Who?");
  expect(wordsOf(shown.getByRole("region", { name: "Token ids" }))).toBe("[17,4]");
  const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Who?" }];
  expect(asked).toEqual([{ model: "tiny", messages, return_token_strs: true }]);
});

test("a wrong schema is named, and nothing is sent by it", async () => {
  const { user } = open("/playground?models=tiny");
  const schema = await screen.findByLabelText(/JSON Schema/);
  await fill(user, schema, "{");
  await see("not JSON");
  await fill(user, screen.getByLabelText("Prompt"), "Which?");
  expect((await button("Send")).disabled).toBe(true);
});

test("a model that is not there says so in its place", async () => {
  const asked = http.post(CHAT, async ({ request }) => {
    const { model } = (await request.json()) as { model: string };
    return model === "tiny" ? answer("Hi", " there") : refusal(404, "There is no model ft:nothing.");
  });
  const { user } = open("/playground?models=tiny,ft:nothing", asked);
  await send(user, "Hello");
  await waitFor(() => expect(wordsOf(screen.getByRole("region", { name: "tiny" }))).toContain("answer of 2 tokens"));
  await waitFor(() => expect(wordsOf(screen.getByRole("region", { name: "ft:nothing" }))).toContain("There is no model ft:nothing."));
});

test("a stored answer is rated and corrected", async () => {
  const saved: unknown[] = [];
  const rating = post("/v1/chat/completions/{completion_id}/rating", ({ body }) => {
    saved.push(body);
    return {} as never;
  });
  const { user } = open("/playground?models=tiny&store=true", http.post(CHAT, () => answer("Tomorrow.")), rating);
  await send(user, "When?");
  await user.click(await button("Bad"));
  await see("rating saved");
  await fill(user, screen.getByLabelText("What it should have answered"), "Today.");
  await user.click(await button("Save"));
  await see("correction saved");
  expect(saved).toEqual([{ rating: "down", corrected_answer: null }, { rating: "down", corrected_answer: "Today." }]);
});
