import { screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";

import type { ChangedRow, Comparison } from "@/types/api";

import { aJob } from "../jobs/aJob";
import { anAdapter, anEval, aRun } from "../service/objects";
import { button, dialog, open, region, row, see, wordsOf } from "../service/open";
import { get, heldBack, jobWithLog, listOf, post, remove, server } from "../service/service";

const RUNS = "/v1/evals/{eval_id}/runs";
const RUN = "/v1/evals/{eval_id}/runs/{run_id}";
const ROWS = "/v1/evals/{eval_id}/compare/rows";
const SCRIPT = '<img src=x onerror="globalThis.struck=1">';
const eval1 = get("/v1/evals/{eval_id}", anEval("eval-1"));

const base = aRun("base", { metadata: { model: "base" }, status: "completed" });
const tuned = aRun("tuned", { model: "ft:tiny:shop:sql:1", metadata: { model: "tuned" }, status: "completed", result_counts: { total: 24, errored: 1 } });
const valued = (value: number) => ({ name: "loss", type: "loss", value, low: value - 0.1, high: value + 0.1, better: "lower" as const, passed: 0, failed: 0 });
const criterion = {
  ...{ name: "loss", type: "loss", base: valued(2), tuned: valued(1), difference: -1, low: -1.1, high: -0.9 },
  ...{ p_value: 0.001, adjusted_p_value: 0.001, verdict: "better" as const, rows: { better: 1, worse: 1, equal: 0 } as never },
};
const comparison: Comparison = { eval_id: "eval-1", base: base as never, tuned: tuned as never, compared_rows: 23, left_out_rows: 1, criteria: [criterion] };
const changed = (change: number, wrote: string): ChangedRow => {
  const of = (score: number, text: string) => ({ id: "item", result: { name: "loss", score, passed: null }, sample: { input: [{ role: "user", content: "question 0" }], output: [{ role: "assistant", content: text }] } }) as never;
  return { id: `row-${String(change)}`, datasource_item_id: 0, datasource_item: { reference: "yes" }, change, base: of(2, "yes it is"), tuned: of(2 - change, wrote) };
};

test("an eval is listed with its criteria and its newest run", async () => {
  const held = heldBack();
  open("/evals", get("/v1/evals", held.then(listOf(anEval("eval-1")))), get(RUNS, listOf(aRun("run-1"))));
  await see("Reading…");
  held.release();
  const shown = await row("short answers");
  expect(wordsOf(shown)).toContain("loss");
  await waitFor(() => expect(wordsOf(shown)).toContain("queued"));
});

test("a project without an eval says so", async () => {
  open("/evals");
  await see("No eval yet.");
});

test("two runs are compared once both are there, and the rows that changed shown with both answers", async () => {
  const { user } = open("/evals/eval-1", eval1, get(RUNS, listOf(aRun("tuned", { status: "in_progress" }), base)));
  await region("Runs");
  await screen.findByRole("progressbar");
  expect(screen.queryByRole("heading", { name: "Comparison" })).toBeNull();
  server.use(
    get(RUNS, listOf(tuned, base)),
    get("/v1/evals/{eval_id}/compare", comparison),
    get(ROWS, ({ query }) => listOf(query.get("change") === "worse" ? changed(-1, SCRIPT) : changed(1, "yes"))),
    get("/v1/evals/{eval_id}/runs/{run_id}/output_items", listOf({
      ...{ id: "item-1", created_at: 0, eval_id: "eval-1", run_id: "tuned", datasource_item_id: 23, datasource_item: {}, status: "error" as const },
      ...{ results: [], sample: {} as never, error: { code: "model_failed", message: "It could not be judged." } },
    })),
  );
  const compared = await region("Comparison");
  await waitFor(() => expect(wordsOf(compared.getAllByRole("row")[1])).toContain("better"));
  await see("1 row left out");
  await see("It could not be judged.");
  const rows = await region("Rows that changed");
  await user.click(rows.getByRole("button", { name: /worse/ }));
  await waitFor(() => expect(wordsOf(rows.getByRole("region", { name: "Tuned model on row 1" }))).toBe(SCRIPT));
  expect(wordsOf(rows.getByRole("region", { name: "Expected in row 1" }))).toBe("yes");
  expect(wordsOf(rows.getByRole("region", { name: "Prompt of row 1" }))).toBe("question 0");
  expect(document.querySelector("mark")).toBeTruthy();
  expect(document.querySelector("img[src=x]")).toBeNull();
});

test("a run with several answers to each row shows whether there is anything to learn", async () => {
  const sampled = { samples_per_row: 2, rows: 12, rows_without_variance: 11, pass_at_k: { 1: 0.25, 2: 0.5 }, verdict: "too_hard", advice: "Take easier prompts." };
  const result = { ...valued(0.25), better: "higher" as const, sampled: sampled as never };
  open("/evals/eval-1", eval1, get(RUNS, listOf(aRun("run-1", { status: "completed", result_counts: { total: 24, errored: 0 }, criteria: [result] }))));
  const shown = await region("Runs");
  await waitFor(() => expect(wordsOf(shown.getAllByRole("row")[1])).toContain("pass@2 0.5000"));
  expect(wordsOf(shown.getAllByRole("row")[1])).toContain("24 answers");
  expect(wordsOf(shown.getAllByRole("row")[1])).toContain("11 of 12 rows without variance");
  expect(shown.getByText("too hard").title).toBe("Take easier prompts.");
});

test("a run is cancelled and deleted, and an eval too", async () => {
  const running = aRun("run-1", { status: "in_progress", progress: { phase: "asking", percent: 30 } });
  const { user, router } = open("/evals/eval-1?base=evalrun-gone", eval1, get(RUNS, listOf(running)), post(`${RUN}/cancel`, running), remove(RUN, {}), remove("/v1/evals/{eval_id}", {}));
  await see("evalrun-gone");
  await screen.findByRole("progressbar", { name: "Progress of run-1" });
  await user.click(await button("Cancel the run run-1"));
  server.use(get(RUNS, listOf({ ...running, status: "canceled" as const })));
  await user.click((await dialog("Cancel this run?")).getByRole("button", { name: "Cancel run" }));
  await user.click(await button("Delete the run run-1"));
  await see("will be deleted for good");
  server.use(get(RUNS, listOf()));
  await user.click((await dialog("Delete this run?")).getByRole("button", { name: "Delete run" }));
  await see("No run yet.");
  await user.click(within(screen.getByRole("main")).getByRole("button", { name: "Delete" }));
  await user.click((await dialog("Delete this eval?")).getByRole("button", { name: "Delete eval" }));
  await waitFor(() => expect(router.state.location.pathname).toBe("/evals"));
});

test("an adapter's page says whether it is better, with the rows that changed most", async () => {
  const adapter = anAdapter("adapter-1", { model: tuned.model });
  open(
    "/adapters/adapter-1",
    get("/v1/adapters/{adapter_id}", adapter),
    get("/v1/adapters/{adapter_id}/portability", { adapter_id: "adapter-1", measured_at: null, prompts: null, measurement: null, runtimes: [] }),
    get("/v1/evals", listOf(anEval("eval-1"))),
    get(RUNS, listOf(tuned, base)),
    get("/v1/evals/{eval_id}/compare", comparison),
    get(ROWS, ({ query }) => listOf(query.get("change") === "worse" ? changed(-1, SCRIPT) : changed(1, "yes"))),
  );
  const section = await region("Is it better?");
  const result = within(await section.findByRole("region", { name: "Result against the base model" }));
  expect(wordsOf(result.getAllByRole("row")[1])).toContain("better");
  expect(within(await section.findByRole("list", { name: "Most improved by loss" })).getAllByRole("listitem")).toHaveLength(1);
  const worsened = within(await section.findByRole("list", { name: "Most worsened by loss" }));
  expect(wordsOf(worsened.getByRole("region", { name: "Tuned model on row 1" }))).toBe(SCRIPT);
  expect(document.querySelector("img[src=x]")).toBeNull();
});

test("a job's page says whether its result is better, and what it has forgotten", async () => {
  const job = aJob(1, { status: "succeeded", fine_tuned_model: tuned.model, finished_at: 1 });
  const general = { type: "completions", model: "tiny", source: { type: "general" } } as const;
  open(
    "/jobs/ftjob-000001",
    ...jobWithLog(job),
    get("/v1/evals", listOf(anEval("eval-1"), anEval("eval-2"))),
    get(RUNS, ({ ids: [id] }) => listOf(...[tuned, base].map((run) => (id === "eval-2" ? { ...run, data_source: general } : run)))),
    get("/v1/evals/{eval_id}/compare", comparison),
  );
  const section = await region("Is it better?");
  await section.findByRole("region", { name: "Result against the base model" });
  await section.findByRole("region", { name: "General questions" });
  expect(section.getAllByRole("table")).toHaveLength(2);
});
