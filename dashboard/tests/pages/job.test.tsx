import { cleanup, screen, waitFor, within } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { expect, test } from "vitest";

import type { Job, RowLoss } from "@/types/api";

import { aJob } from "../jobs/aJob";
import { aCheck, aCheckpoint, aMessage, anAdapter } from "../service/objects";
import { button, clock, dialog, open, region, see, unsee, wordsOf } from "../service/open";
import { get, heldBack, jobWithLog, listOf, noAnswer, post, refusal, remove, server } from "../service/service";

const ID = "ftjob-000001";
const AT = `/jobs/${ID}`;
const JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}";
const waits = aJob(1, { user_provided_suffix: "useless", status: "paused" });
const ended = aJob(1, { user_provided_suffix: "ended", status: "succeeded", adapter_id: "adapter-1", fine_tuned_model: "ft:tiny:shop:ended:1", finished_at: 1_795_000_100 });
const gone = () => refusal(404, `There is no job ${ID}. It was deleted.`);

test("a job deleted elsewhere is said to be, and is not found afterwards", async () => {
  const time = clock();
  open(AT, ...jobWithLog(waits));
  await screen.findByRole("heading", { level: 1, name: "useless" });
  server.use(get(JOB, gone));
  await time.forward(31_000);
  await see("was deleted meanwhile");
  await screen.findByRole("link", { name: "All jobs" });
});

test("a job that is not there says so", async () => {
  open(AT, get(JOB, gone));
  await see("It was deleted, or it never existed here.");
});

test("the page of an ended job tells of its deletion, and leads to its adapter", async () => {
  const time = clock();
  const adapter = anAdapter("adapter-1", { job_id: ID, job_deleted: true });
  const report = { adapter_id: "adapter-1", measured_at: null, prompts: null, measurement: null, runtimes: [] };
  const { user } = open(AT, ...jobWithLog(ended), get("/v1/adapters/{adapter_id}", adapter), get("/v1/adapters/{adapter_id}/portability", report));
  await see("The job has ended");
  server.use(get(JOB, gone));
  await time.forward(31_000);
  await see("was deleted meanwhile");
  await user.click(screen.getByRole("link", { name: "Its adapter" }));
  await see(`${ID} (deleted)`);
  expect(screen.queryByRole("link", { name: "Train another like it" })).toBeNull();
});

test("a slow answer is said to be on its way", async () => {
  const held = heldBack();
  open(AT, get(JOB, held.then(waits)), ...jobWithLog(waits).slice(1));
  await see("Reading…");
  held.release();
  await screen.findByRole("heading", { level: 1, name: "useless" });
});

const phase = (number: number, code: string) => aMessage(number, code, { data: { code } });

test("it says what it did before its first step", async () => {
  const step = aMessage(5, "Step 1", { type: "metrics", data: { step: 1, train_loss: 1 } });
  const events = [phase(0, "claimed"), phase(2, "model_loaded"), phase(3, "rows_read"), step];
  open(AT, ...jobWithLog({ ...waits, status: "running", started_at: 1_795_000_000 }, ...events));
  for (const done of ["claimed by a worker", "model loaded", "rows read", "first step"]) await see(new RegExp(`${done} · after`));
});

test("it says since when it is paused", async () => {
  open(AT, ...jobWithLog({ ...waits, started_at: 1_795_000_000 }, phase(0, "claimed"), phase(9, "paused")));
  await see("paused");
  await screen.findByRole("log");
  const paused = (await screen.findAllByRole("listitem")).find((item) => /^paused/i.test(wordsOf(item)));
  expect(wordsOf(paused)).toContain("for");
});

test("older lines of the log that cannot be read are told", async () => {
  const lines = Array.from({ length: 300 }, (_, number) => aMessage(number, `line ${String(number)}`)).toReversed();
  let isAway = true;
  const events = http.get("*/v1/fine_tuning/jobs/:id/events", ({ request }) => {
    if (request.headers.get("accept")?.includes("event-stream")) return new Response(new ReadableStream());
    const after = new URL(request.url).searchParams.get("after");
    if (after && isAway) return noAnswer();
    const from = lines.findIndex(({ id }) => id === after) + 1;
    return HttpResponse.json({ ...listOf(...lines.slice(from, from + 200)), has_more: from + 200 < lines.length });
  });
  const { user } = open(AT, events, ...jobWithLog(waits));
  const older = await button("Show older lines");
  await see("Older lines are not read yet.");
  await user.click(older);
  await see("The service does not answer.");
  isAway = false;
  await user.click(older);
  await waitFor(() => expect(screen.queryByRole("button", { name: "Show older lines" })).toBeNull());
  await unsee("The service does not answer.");
});

test("one is cancelled and deleted on its page, which leads to the others", async () => {
  const cancelled = { ...waits, status: "cancelled" as const, finished_at: 1_795_000_100 };
  const { user, router } = open(AT, ...jobWithLog(waits), post(`${JOB}/cancel`, cancelled), remove(JOB, {}));
  await user.click(await button("Cancel job"));
  expect(screen.queryByRole("button", { name: "Delete" })).toBeNull();
  await user.click((await dialog("Cancel this job?")).getByRole("button", { name: "Keep it" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  await user.click(await button("Cancel job"));
  server.use(...jobWithLog(cancelled));
  await user.click((await dialog("Cancel this job?")).getByRole("button", { name: "Cancel job" }));
  await user.click(await button("Delete"));
  await see("will be deleted for good, with its log, curves and checkpoints");
  await user.click((await dialog("Delete this job?")).getByRole("button", { name: "Delete job" }));
  await waitFor(() => expect(router.state.location.pathname).toBe("/jobs"));
});

test("checkpoints of a job with rewards have the reward of their validation", async () => {
  const learns = aJob(1, { method: { type: "reinforcement", reinforcement: {} } as Job["method"] });
  const checkpoints = `${JOB}/checkpoints`;
  open(AT, ...jobWithLog(learns));
  await see("The first checkpoint is saved at the first validation after a step.");
  cleanup();
  const saved = [aCheckpoint(12, { full_valid_mean_reward: 0.5 }), aCheckpoint(4, { full_valid_mean_reward: 0.25 })];
  open(AT, get(checkpoints, listOf(...saved)), ...jobWithLog(learns));
  const section = await region("Checkpoints");
  await section.findByText("Validation reward");
  expect(section.getAllByRole("row").slice(1).map((row) => within(row).getAllByRole("cell").slice(0, 2).map(({ textContent }) => textContent))).toEqual([
    ["12", "0.5000"],
    ["4", "0.2500"],
  ]);
  section.getByText("The checkpoints of the three best validations are kept.");
});

test("rows lead to their lines, and to a copy without the chosen ones", async () => {
  const job = { ...waits, validation_file: "file-2", training: { devices: 1, row_losses: 100 } };
  const rowsOf = (part: "training" | "validation"): RowLoss[] =>
    [5, 4, 3, 2, 1].map((line) => ({ id: `${part}-${String(line)}`, part, file_id: part === "training" ? "file-1" : "file-2", line, tokens: 7, loss_before: 2.5, loss_after: line / 10, change: line / 10 - 2.5, suspicion: line / 100 }));
  const running = aCheck("check-1", { status: "running" });
  const asked: unknown[] = [];
  const { user } = open(
    AT,
    ...jobWithLog(job),
    get(`${JOB}/rows`, ({ query }) => listOf(...rowsOf(query.get("part") === "validation" ? "validation" : "training"))),
    post("/v1/files/{file_id}/check", ({ body }) => {
      asked.push(body);
      return running;
    }),
    get("/v1/files/{file_id}/checks/{check_id}", running),
  );
  const section = await region("Rows");
  await section.findByText("0.5000");
  await user.click(section.getByRole("checkbox", { name: "Leave line 5 out" }));
  await user.click(section.getByRole("checkbox", { name: "Leave line 2 out" }));
  await user.click(section.getByRole("button", { name: "Make a copy without 2 rows" }));
  await see("The copy is being made…");
  expect(asked).toEqual([{ mend: true, leave_out: [5, 2] }]);
  server.use(get("/v1/files/{file_id}/checks/{check_id}", aCheck("check-1", { status: "succeeded", mended_file: "file-9" })));
  expect((await section.findByRole("link", { name: "The copy is made" })).getAttribute("href")).toBe("/files/file-9");
  await user.selectOptions(section.getByLabelText("Part of the data"), "validation");
  await waitFor(() => expect(section.queryByRole("button", { name: /Make a copy/ })).toBeNull());
  expect((await section.findByRole("link", { name: "5" })).getAttribute("href")).toBe("/files/file-2?line=5");
});

const answers = (step: number, answer: string, expected: string | null = "yes") =>
  aMessage(step, "", { type: "samples", data: { step, rows: [{ line: 1, prompt: "Is it?", expected, answer, finished: true }] } });

test("answers of each evaluation stand beside what was expected", async () => {
  const job = { ...waits, validation_file: "file-2", training: { devices: 1, eval_samples: 1 } };
  const { user } = open(AT, ...jobWithLog(job, answers(0, "no"), answers(1, "<script>", null), answers(2, "yes")));
  const section = await region("Answers");
  const text = (name: string) => wordsOf(section.getByRole("group", { name }));
  await section.findByRole("group", { name: "After step 2" });
  expect(text("Expected")).toBe("yes");
  expect(text("Before training")).toBe("no");
  await see("Exactly as expected: 0 of 1 before training, 1 of 1 after step 2.");
  const picker = section.getByLabelText("Evaluation");
  expect(wordsOf(within(picker).getAllByRole("option")[0])).toBe("newest, step 2");
  await user.selectOptions(picker, "1");
  expect(text("After step 1")).toBe("<script>");
  await see("an answer to avoid");
});

test("answers with rewards stand beside each other by step, and are sorted by how the reward changed", async () => {
  const job = { ...waits, validation_file: "file-2" };
  const rewarded = (step: number, rewards: (number | null)[]) => {
    const rows = rewards.map((reward, at) => ({ line: at + 1, prompt: `Question ${String(at + 1)}`, expected: null, answer: `answer ${String(step)}`, finished: step > 0, reward, ...(step > 0 && { audit: 0.125 }) }));
    return aMessage(step, "", { type: "samples", data: { step, rows } });
  };
  const { user } = open(AT, ...jobWithLog(job, rewarded(0, [0.5, 0]), rewarded(4, [0.25, 0.75])));
  const section = await region("Answers");
  const items = () => section.getAllByRole("listitem").map(wordsOf).filter((words) => words.includes("Prompt of line"));
  await section.findByText("Prompt of line 1");
  expect(items().map((words) => /line (\d)/.exec(words)?.[1])).toEqual(["1", "2"]);
  expect(items()[0]).toMatch(/Change of the reward from first to last: -0\.2500.*Before trainingreward 0\.5000.*Truncated: max_completion_tokens.*After step 4reward 0\.2500, audit 0\.1250/);
  await user.selectOptions(section.getByLabelText("Order of the prompts"), "what became better first");
  expect(items().map((words) => /line (\d)/.exec(words)?.[1])).toEqual(["2", "1"]);
});

test("a job that learns from rewards shows them instead of its loss, and is evaluated by its own grader", async () => {
  const grader = { type: "string_check", name: "right", input: "a", reference: "b", operation: "eq" };
  const method = { type: "reinforcement", reinforcement: { grader, hyperparameters: {} } } as never;
  const points = [{ step: 0, full_valid_mean_reward: 0.25 }, { step: 1, train_mean_reward: 0.5, train_loss: 2, full_valid_mean_reward: 0.75, entropy: 1 }] as never[];
  const evals: unknown[] = [];
  const { user } = open(
    AT,
    ...jobWithLog({ ...ended, method, validation_file: "file-2" }),
    get(`${JOB}/metrics`, { data: points, has_more: false, thinned: false }),
    post("/v1/evals", ({ body }) => {
      evals.push(body.testing_criteria);
      return refusal(400, "Not now.");
    }),
  );
  await see(/Validation reward, first and last0\.2500 → 0\.7500/);
  const curves = await region("Curves");
  expect(curves.getAllByRole("heading", { level: 3 }).map(wordsOf)).toEqual(["Mean reward", "Entropy"]);
  expect(wordsOf(curves.getAllByRole("figure")[0])).toContain("before training0.2500");
  await user.click(await button("Evaluate"));
  await see("Not now.");
  expect(evals).toEqual([[grader]]);
});

test("a job without samples has no place for them", async () => {
  open(AT, ...jobWithLog(waits));
  await screen.findByRole("heading", { name: /Log/ });
  expect(screen.queryByRole("heading", { name: "Answers" })).toBeNull();
});

test("a refused evaluation says why, leaves no eval behind, and can be tried again", async () => {
  const removed: string[] = [];
  const job = { ...ended, validation_file: "file-2" };
  const { user } = open(
    AT,
    ...jobWithLog(job),
    post("/v1/evals", { id: "eval-1" } as never),
    post("/v1/evals/{eval_id}/runs", () => refusal(400, "There is no file file-2.")),
    remove("/v1/evals/{eval_id}", ({ ids: [id = ""] }) => {
      removed.push(id);
      return {};
    }),
  );
  const section = await region("Is it better?");
  const start = await section.findByRole<HTMLButtonElement>("button", { name: "Evaluate" });
  await user.click(start);
  await see("There is no file file-2.");
  expect(start.disabled).toBe(false);
  expect(removed).toEqual(["eval-1"]);
});

test("a job that succeeded says what it has made, and what comes next", async () => {
  const job = { ...ended, validation_file: "file-2", training: { devices: 1, eval_samples: 1 } };
  const points = [1, 2].map((step) => ({ step, full_valid_loss: 1 / step }) as never);
  const card = { name: "README.md", bytes: 1, sha256: "0" };
  const { user } = open(
    AT,
    ...jobWithLog(job, answers(0, "no"), answers(2, "yes")),
    get(`${JOB}/metrics`, { data: points, has_more: false, thinned: false }),
    get("/v1/adapters/{adapter_id}", anAdapter("adapter-1", { files: [card] })),
    http.get("*/v1/adapters/:id/files/README.md", () => HttpResponse.text("# Use it\n\n```python\nmodel.generate(prompt)\n```\n")),
  );
  const result = await region("Result");
  await see(/Validation loss, first and last1\.000 → 0\.5000/);
  await see(/before and after0 of 1 → 1 of 1/);
  expect(result.getByRole("link", { name: "Evaluate it" }).getAttribute("href")).toBe("#evaluation");
  expect(decodeURIComponent(result.getByRole("link", { name: "Train it further" }).getAttribute("href") ?? "")).toContain("model=ft:tiny:shop:ended:1");
  await user.click(result.getByText("Load it in PEFT or vLLM"));
  await see("model.generate(");
});
