import { screen, waitFor, within } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { describe, expect, test } from "vitest";

import type { Job } from "@/types/api";

import { aJob, jobsFrom } from "../jobs/aJob";
import { aFile } from "../service/objects";
import { button, clock, dialog, fill, open, row, see, unsee, wordsOf } from "../service/open";
import { get, heldBack, jobWithLog, listOf, post, refusal, remove, server } from "../service/service";

const JOBS = "/v1/fine_tuning/jobs";
const JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}";
const named = (number: number, suffix: string, fields: Partial<Job> = {}) => aJob(number, { user_provided_suffix: suffix, status: "paused", ...fields });

/** The jobs of a project, newest first, found and read as the service does it. */
function project(...jobs: Job[]) {
  const asked: URLSearchParams[] = [];
  const list = get(JOBS, ({ query }) => {
    asked.push(query);
    const words = query.get("search")?.toLowerCase().split(" ") ?? [];
    const wanted = jobs
      .filter((job) => !query.get("status") || job.status === query.get("status"))
      .filter((job) => words.every((word) => JSON.stringify(job).toLowerCase().includes(word)));
    const from = wanted.findIndex(({ id }) => id === query.get("after")) + 1;
    const data = wanted.slice(from, from + Number(query.get("limit") ?? 20));
    return { ...listOf(...data), has_more: from + data.length < wanted.length };
  });
  const end = (id: string, fields: Partial<Job> | null) => {
    const at = jobs.findIndex((job) => job.id === id);
    const job = jobs[at];
    if (!job) return aJob(0);
    if (!fields) jobs.splice(at, 1);
    else jobs[at] = { ...job, ...fields };
    return jobs[at] ?? job;
  };
  const answers = [
    list,
    get(JOB, ({ ids: [id] }) => jobs.find((job) => job.id === id) ?? refusal(404, "There is no such job.")),
    post(`${JOB}/cancel`, ({ ids: [id = ""] }) =>
      jobs.find((job) => job.id === id)?.status === "cancelled" ? refusal(400, "The job is cancelled already.") : end(id, { status: "cancelled" }),
    ),
    remove(JOB, ({ ids: [id = ""] }) => end(id, null)),
  ];
  return { asked, answers, jobs, end };
}

const links = () => screen.getAllByRole("row").flatMap((one) => within(one).queryAllByRole("link").map(wordsOf));

describe("several jobs at once", () => {
  test("ticked jobs are compared, by the mouse and by the keys", async () => {
    const { answers } = project(named(3, "job-2"), named(2, "job-1"), named(1, "job-0"));
    const { user } = open("/jobs", ...answers);
    await user.click(await screen.findByLabelText("Select job-0"));
    await user.keyboard("j");
    await user.keyboard("x");
    await waitFor(() => expect(screen.getByLabelText<HTMLInputElement>("Select job-2").checked).toBe(true));
    const bar = within(screen.getByRole("group", { name: "Selected jobs" }));
    bar.getByText("2 selected");
    expect(decodeURIComponent(bar.getByRole("link", { name: "Compare" }).getAttribute("href") ?? "")).toContain("ftjob-000003,ftjob-000001");
  });

  test("many are cancelled, and what came of each is told", async () => {
    const { answers, end, jobs } = project(named(3, "kept"), named(2, "second"), named(1, "first"));
    const { user } = open("/jobs", ...answers);
    await user.click(await screen.findByLabelText("Select first"));
    await user.click(screen.getByLabelText("Select second"));
    await user.click(await button("Cancel 2"));
    const asked = await dialog();
    expect(asked.getAllByRole("listitem").map(wordsOf)).toEqual(["second", "first"]);
    end("ftjob-000002", { status: "cancelled" }); // meanwhile, elsewhere
    await user.click(asked.getByRole("button", { name: "Cancel 2 jobs" }));
    await see("1 of 2 jobs cancelled");
    expect((await dialog("Outcome")).getAllByRole("listitem").map(wordsOf)).toEqual(["second: The job is cancelled already.", "first: cancelled"]);
    expect(jobs.map(({ status }) => status)).toEqual(["paused", "cancelled", "cancelled"]);
  });

  test("many are deleted after what is lost is told", async () => {
    const { answers, jobs } = project(named(3, "kept"), named(2, "ended", { status: "cancelled" }), named(1, "waits"));
    const { user } = open("/jobs", ...answers);
    await user.click(await screen.findByLabelText("Select waits"));
    await user.click(screen.getByLabelText("Select ended"));
    await user.click(await button("Delete 2"));
    const asked = await dialog("Delete 2 jobs?");
    await see("curves and checkpoints will be deleted for good");
    await see("1 of them is cancelled first");
    await user.click(asked.getByRole("button", { name: "Delete 2 jobs" }));
    await see("2 of 2 jobs deleted");
    await user.click((await dialog("Outcome")).getByRole("button", { name: "Close" }));
    await unsee("waits");
    expect(screen.queryByRole("group", { name: "Selected jobs" })).toBeNull();
    expect(jobs.map(({ id }) => id)).toEqual(["ftjob-000003"]);
  });

  test("a deletion of many stays until its outcomes are there", async () => {
    const { answers } = project(named(1, "useless", { status: "cancelled" }));
    const held = heldBack();
    const { user } = open("/jobs", remove(JOB, held.then({})), ...answers);
    await user.click(await screen.findByLabelText("Select useless"));
    await user.click(await button("Delete 1"));
    const asked = await dialog();
    await user.click(asked.getByRole("button", { name: "Delete 1 job" }));
    await see("Deleting…");
    expect(asked.queryByRole("button", { name: "Close" })).toBeNull();
    held.release();
    await see("1 of 1 job deleted");
  });

  test("all that are found are ticked, those too that were not read", async () => {
    const { answers } = project(...jobsFrom(231, 1));
    const { user } = open("/jobs", ...answers);
    const tick = await screen.findByLabelText<HTMLInputElement>("Select all jobs found");
    await see(/\d+\+ jobs/);
    await user.click(tick);
    await see("231 selected");
    await waitFor(() => expect(tick.checked).toBe(true));
    await user.click(tick);
    await waitFor(() => expect(screen.queryByRole("group", { name: "Selected jobs" })).toBeNull());
  });
});

describe("the list", () => {
  test("a status is asked of the service, and nothing is missed before the answer", async () => {
    const { answers, asked } = project(named(9, "waits"), ...jobsFrom(8, 1).map((job) => ({ ...job, status: "cancelled" as const })));
    const { user } = open("/jobs", ...answers);
    await screen.findByRole("link", { name: "waits" });
    const held = heldBack();
    server.use(get(JOBS, held.then(listOf<Job>())));
    await user.selectOptions(screen.getByLabelText("Status"), "failed");
    await see("Searching…");
    expect(screen.queryByText("No job matches.")).toBeNull();
    held.release();
    await see("No job matches.");
    await see("0 jobs found");
    server.use(...answers);
    await user.selectOptions(screen.getByLabelText("Status"), "paused");
    await see("1 job found");
    expect(asked.some((query) => query.get("limit") === "1000")).toBe(false);
  });

  test("what cannot be read is said, and asked for once", async () => {
    const { answers } = project(...jobsFrom(60, 1));
    let refused = 0;
    const refusing = http.get("*/v1/fine_tuning/jobs", ({ request }) => {
      if (new URL(request.url).searchParams.get("limit") !== "100") return undefined;
      refused += 1;
      return refusal(400, "Not like this.");
    });
    open("/jobs", refusing, ...answers);
    await see("Not like this.");
    await screen.findByRole("link", { name: "ftjob-000060" });
    expect(refused).toBe(1);
  });

  test("the best loss and the rate stand in it, and it is sorted by the loss", async () => {
    const standing = { ...aJob(0).progress, phase: "training" as const, step: 9, total_steps: 20, tokens_per_second: 1234.5 };
    const trains = (number: number, name: string, best: number | null, at: number | null) =>
      named(number, name, { status: "running", progress: { ...standing, best_valid_loss: best, best_step: at } });
    const { answers } = project(trains(3, "without", null, null), trains(2, "better", 0.25, 8), trains(1, "worse", 0.75, 7));
    const { user } = open("/jobs", ...answers);
    await screen.findByRole("link", { name: "worse" });
    expect(wordsOf(await row("worse"))).toContain("1,235");
    expect(wordsOf(within(await row("worse")).getByTitle("at step 7"))).toBe("0.7500");
    const head = await button("Best val. loss");
    await user.click(head);
    await waitFor(() => expect(links()).toEqual(["better", "worse", "without"]));
    expect(head.closest("th")?.getAttribute("aria-sort")).toBe("ascending");
    await user.click(head);
    await waitFor(() => expect(links()).toEqual(["worse", "better", "without"]));
  });

  test("words are searched for by the service, and what is selected stays", async () => {
    const { answers, asked } = project(named(2, "other", { metadata: { team: "haystack" } }), named(1, "needle"));
    const { user } = open("/jobs", ...answers);
    await user.click(await screen.findByLabelText("Select needle"));
    const field = screen.getByRole("searchbox", { name: "Search jobs" });
    await fill(user, field, "HAYSTACK team");
    await unsee("needle");
    await see("1 job found");
    await see("1 selected");
    expect(asked.map((query) => query.get("search")).filter(Boolean)).toContain("HAYSTACK team");
    await fill(user, field, "of nothing");
    await see("No job matches.");
  });

  test("a job deleted elsewhere leaves it", async () => {
    const time = clock();
    const { answers, end } = project(named(2, "stays"), named(1, "goes"));
    open("/jobs", ...answers);
    await screen.findByRole("link", { name: "goes" });
    end("ftjob-000001", null);
    await time.forward(6000);
    await unsee("goes");
    expect(links()).toEqual(["stays"]);
  });

  test("a slow answer is said to be on its way", async () => {
    const held = heldBack();
    open("/jobs", get(JOBS, held.then(listOf(named(1, "slow")))));
    await see("Reading…");
    held.release();
    await screen.findByRole("link", { name: "slow" });
    await unsee("Reading…");
  });
});

test("the sample job that is refused is told, and another try sends no file twice", async () => {
  let uploads = 0;
  const upload = http.post("*/v1/files", () => HttpResponse.json(aFile(`file-${(uploads += 1)}`)));
  const sample = http.get("*.jsonl", () => HttpResponse.text("{}\n"));
  const { user } = open("/jobs", upload, sample, post(JOBS, () => refusal(429, "Too many jobs.", { code: "quota_exceeded" })));
  await user.click(await button("Run the sample job"));
  await see("Too many jobs.");
  server.use(post(JOBS, named(1, "sample")), ...jobWithLog(named(1, "sample")));
  await user.click(await button("Run the sample job"));
  await screen.findByRole("heading", { level: 1, name: "sample" });
  expect(uploads).toBe(2);
});
