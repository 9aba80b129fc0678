import { screen, waitFor, within } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { expect, test } from "vitest";

import type { Portability } from "@/types/api";

import { aFile, anAdapter, anEval, anExport, aRun, WAITING } from "../service/objects";
import { button, fill, open, region, see, unsee, wordsOf } from "../service/open";
import { get, heldBack, listOf, post, refusal, remove, server, signedIn } from "../service/service";

const ADAPTER = anAdapter("adapter-1", { model: "ft:tiny:shop:sql:1" });
const EXPORTS = "/v1/adapters/{adapter_id}/exports";
const EXPORT = "/v1/adapters/{adapter_id}/exports/{export_id}";
const PORTABILITY = "/v1/adapters/{adapter_id}/portability";
const sglang = {
  ...{ runtime: "sglang", name: "SGLang", status: "works", measured: false, needs: "as_it_is", reason: "SGLang loads PEFT’s files." } as const,
  ...{ sources: ["https://example.com"], start_line: "python -m sglang.launch_server" },
};
const RULES: Portability = { adapter_id: "adapter-1", measured_at: null, prompts: null, measurement: null, runtimes: [sglang] };

/** Opens the page of the adapter. */
const page = (...answers: Parameters<typeof open> extends [string, ...infer Rest] ? Rest : never) =>
  open("/adapters/adapter-1", ...answers, get("/v1/adapters/{adapter_id}", ADAPTER), get(PORTABILITY, RULES));

test("a lineage that is not read yet, or cannot be, is not said to be unknown", async () => {
  const held = heldBack();
  page(http.get("*/v1/adapters/:id/files/manifest.json", async () => (await held.then(null)(), refusal(403, "Not for you."))));
  const lineage = await region("Lineage");
  expect(lineage.getAllByText("Reading…")).toHaveLength(2);
  held.release();
  await see("Not for you.");
  expect(lineage.getAllByText("could not be read")).toHaveLength(2);
});

test("the files of a lineage are named with their rows", async () => {
  const data = { id: "file-1", rows: 12, sha256: "0".repeat(64) };
  page(http.get("*/v1/adapters/:id/files/manifest.json", () => HttpResponse.json({ base_model: "tiny", dataset: { training_file: data, validation_file: data } })));
  const lineage = await region("Lineage");
  await waitFor(() => expect(lineage.getAllByRole("link", { name: "train.jsonl" })).toHaveLength(2));
});

test("an export is asked for with its options, and shown while it is made", async () => {
  const asked: unknown[] = [];
  const { user } = page(
    post(EXPORTS, ({ body }) => {
      asked.push(body);
      return anExport("export-1");
    }),
  );
  const section = await region("Exports");
  await see("No export.");
  await fill(user, section.getByLabelText(/^Rank/), "4");
  const running = anExport("export-1", { request: { format: "lora", rank: 4 }, status: "running", progress: { phase: "converting", percent: 50 } });
  server.use(get(EXPORTS, listOf(running)));
  await user.click(section.getByRole("button", { name: "Export" }));
  await section.findByRole("progressbar", { name: "Progress of the export Plain LoRA (PEFT, vLLM, SGLang), rank 4" });
  server.use(get(EXPORTS, listOf({ ...running, status: "succeeded", report: { relative_error: 0, rank: 4 } })));
  await see("Exact, at rank 4.");

  await user.selectOptions(section.getByLabelText("Format"), "gguf");
  await user.selectOptions(section.getByLabelText("Weights"), "q4_0");
  await fill(user, section.getByLabelText(/^Push to/), "hub:shop/sql");
  await fill(user, section.getByLabelText("Secret with its key"), "HUB_TOKEN");
  await user.click(section.getByRole("button", { name: "Export" }));
  const destination = { type: "hub", repository: "shop/sql", secret: "HUB_TOKEN" };
  await waitFor(() => expect(asked).toEqual([{ format: "lora", rank: 4 }, { format: "gguf", quantization: "q4_0", destination }]));
});

test("an export is cancelled while it waits, and deleted afterwards; what is refused is told", async () => {
  const { user } = page(get(EXPORTS, listOf(anExport("export-1"))), post(`${EXPORT}/cancel`, () => refusal(400, "It has just ended.")));
  await user.click(await button(/^Cancel the export/));
  await see("It has just ended.");
  server.use(get(EXPORTS, listOf(anExport("export-1", { status: "cancelled" }))), post(`${EXPORT}/cancel`, anExport("export-1")), remove(EXPORT, {}));
  await user.click(await button(/^Cancel the export/));
  const deletes = await button(/^Delete the export/);
  server.use(get(EXPORTS, listOf()));
  await user.click(deletes);
  await see("No export.");
});

test("which runtimes load it is shown by rules at once, and by figures after a measurement", async () => {
  const { user } = page();
  const section = await region("Where does it load?");
  await see("Nothing has been measured yet.");
  await see("should load, by its documentation");
  expect(wordsOf(section.getByRole("region", { name: "Start in SGLang" }))).toContain("sglang.launch_server");
  const running = { ...RULES, measurement: { ...WAITING, id: "measurement-1" } };
  server.use(post(PORTABILITY, running), get(PORTABILITY, running));
  await user.click(section.getByRole("button", { name: "Measure" }));
  await section.findByRole("progressbar");
  await see("queued");
  let reads = 0;
  const figures = { prompts: 20, greedy_equal: 20, max_logprob_difference: 0.001, first_difference: null, template_tokens_equal: true };
  const measured: Portability = {
    ...RULES,
    ...{ measured_at: 1_795_000_000, prompts: { count: 20, from_validation_file: 0, from_general_list: 20 } as never },
    ...{ measurement: { ...running.measurement, status: "succeeded", finished_at: 1 }, runtimes: [{ ...sglang, measured: true, figures }] },
  };
  server.use(get(PORTABILITY, measured), get("/v1/adapters/{adapter_id}", () => ((reads += 1), ADAPTER)));
  await see("20 of 20 equal");
  await see("on 20 prompts");
  await waitFor(() => expect(reads).toBeGreaterThan(0)); // its model card has another hash now
  server.use(post(`${PORTABILITY}/cancel`, measured), post(PORTABILITY, running), get(PORTABILITY, running));
  await user.click(section.getByRole("button", { name: "Measure again" }));
  const cancel = await section.findByRole("button", { name: "Cancel" });
  server.use(get(PORTABILITY, measured));
  await user.click(cancel);
  await section.findByRole("button", { name: "Measure again" });
});

test("it is evaluated on a chosen file, and then says how far that is", async () => {
  const runs: unknown[] = [];
  const { user } = page(
    get("/v1/files", listOf(aFile("file-1", { filename: "held-out.jsonl", rows: 24 }))),
    post("/v1/evals", ({ body }) => {
      expect(body.testing_criteria.map(({ type }) => type)).toEqual(["loss", "exact_match"]);
      return anEval("eval-1");
    }),
    post("/v1/evals/{eval_id}/runs", ({ body }) => {
      runs.push(body);
      return aRun("run-1");
    }),
  );
  const section = await region("Is it better?");
  await see("It was not compared with its base model yet.");
  await user.selectOptions(section.getByLabelText("File, with rows that it was not trained on"), "held-out.jsonl · 24 rows");
  await fill(user, section.getByLabelText("Rows (empty: all)"), "23");
  const made = [aRun("tuned", { model: ADAPTER.model, metadata: { model: "tuned" } }), aRun("base", { metadata: { model: "base" } })];
  server.use(get("/v1/evals", listOf(anEval("eval-1"))), get("/v1/evals/{eval_id}/runs", listOf(...made)));
  await user.click(section.getByRole("button", { name: "Evaluate" }));
  await waitFor(() => expect(section.getAllByText("queued")).toHaveLength(2));
  const source = { type: "file_id", id: "file-1", limit: 23 };
  expect(runs).toEqual(
    [["base", "tiny"], ["tuned", ADAPTER.model]].map(([role, model]) => ({ metadata: { model: role }, data_source: { type: "completions", model, source } })),
  );
  await section.findByText("Evaluate on another file");
});

test("it says what came before and after it, and how it is asked", async () => {
  const alias = { id: "alias-1", name: "production", model: ADAPTER.model, weights: { [ADAPTER.model]: 1 }, version: 1, created_at: 0, updated_at: 0 };
  const { user } = page(get("/v1/aliases", listOf(alias)));
  const family = await region("Before and after");
  await see("Nothing has been made from it yet.");
  family.getByText(/production/);
  const use = await region("Use it");
  expect(wordsOf(use.getByRole("region", { name: "The openai package" }))).toContain(ADAPTER.model);
  await user.click(use.getByRole("button", { name: "curl" }));
  expect(wordsOf(use.getByRole("region", { name: "A shell with curl" }))).toContain("/v1/chat");
});

test("a long chain before it is folded, and unfolds with the focus on the oldest", async () => {
  const lineage = Array.from({ length: 30 }, (_, at) => ({ job_id: "ftjob-1", model: `ft:tiny:x:step-${String(29 - at)}:1`, adapter_id: `adapter-${String(129 - at)}`, sha256: "0", step: null }));
  const { user } = page(get("/v1/adapters/{adapter_id}", { ...ADAPTER, lineage }));
  const graph = within((await region("Before and after")).getByRole("region", { name: "Lineage graph" }));
  expect(graph.getAllByRole("listitem")).toHaveLength(1 + 1 + 3 + 1);
  await user.click(graph.getByRole("button", { name: /27 models between/ }));
  await waitFor(() => expect(graph.getAllByRole("listitem")).toHaveLength(1 + 30 + 1));
  await waitFor(() => expect(document.activeElement?.closest("[data-node]")?.getAttribute("data-node")).toBe("adapter-100"));
});

const COMPOSITIONS = "/v1/adapters/compositions";
const COMPOSITION = "/v1/adapters/compositions/{composition_id}";
const request = { method: "svd" as const, adapters: [{ adapter: "a" }, { adapter: "b" }], svd_rank: 6 };
const composition = { ...WAITING, id: "composition-1", base_model: "tiny", request, adapter_id: null, fine_tuned_model: null };

test("a composition is refused, started, cancelled, and its record deleted", async () => {
  const asked: unknown[] = [];
  const { user } = open(
    "/compose?adapters=adapter-1,adapter-2",
    get(COMPOSITIONS, listOf()), // before the address of an adapter, which is like it
    get("/v1/adapters/{adapter_id}", ({ ids: [id = ""] }) => anAdapter(id, { model: id })),
    post("/v1/adapters/compose", () => refusal(400, "The adapters need one rank.")),
  );
  await user.selectOptions(await screen.findByLabelText("Method"), "linear");
  await waitFor(() => expect(screen.getByLabelText<HTMLInputElement>("Weight of adapter-2").value).toBe("1"));
  await user.click(await button("Compose"));
  await see("The adapters need one rank.");
  await user.selectOptions(screen.getByLabelText("Method"), "svd");
  await fill(user, screen.getByLabelText(/^Rank/), "6");
  server.use(
    post("/v1/adapters/compose", ({ body }) => {
      asked.push(body);
      return composition;
    }),
    get(COMPOSITIONS, listOf(composition)),
    post(`${COMPOSITION}/cancel`, composition),
    remove(COMPOSITION, {}),
  );
  await user.click(await button("Compose"));
  const cancel = await button("Cancel the composition svd of 2 adapters");
  await unsee("The adapters need one rank.");
  const adapters = [{ adapter: "adapter-1", weight: 1 }, { adapter: "adapter-2", weight: 1 }];
  expect(asked).toEqual([{ adapters, method: "svd", svd_rank: 6 }]);
  server.use(get(COMPOSITIONS, listOf({ ...composition, status: "cancelled" as const })));
  await user.click(cancel);
  const deletes = await button("Delete the composition svd of 2 adapters");
  server.use(get(COMPOSITIONS, listOf()));
  await user.click(deletes);
  await see("No composition.");
});

test("a composition waits for two adapters, and a search for its files", async () => {
  const { user } = open("/compose?adapters=adapter-1", get(COMPOSITIONS, listOf()), get("/v1/adapters/{adapter_id}", ({ ids: [id = ""] }) => anAdapter(id)), get("/v1/files", listOf(aFile("file-1"))));
  await see("Add at least two adapters of one base model.");
  expect((await screen.findAllByRole<HTMLButtonElement>("button", { name: "Compose" })).at(-1)?.disabled).toBe(true);
  await user.click(screen.getByLabelText("Search for better weights"));
  expect(await screen.findByLabelText(/train.jsonl/)).toBeTruthy();
});

test("a key that may only read sees compositions and no form", async () => {
  open("/compose?adapters=adapter-1", signedIn({ role: "read-only" }));
  await see("No composition.");
  expect(within(screen.getByRole("main")).queryByRole("button", { name: "Compose" })).toBeNull();
});
