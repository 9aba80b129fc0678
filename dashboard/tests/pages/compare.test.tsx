import { screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";

import type { Job } from "@/types/api";

import { aJob } from "../jobs/aJob";
import { aMessage } from "../service/objects";
import { button, clock, dialog, fill, open, region, row, see, unsee, wordsOf } from "../service/open";
import { get, heldBack, jobWithLog, listOf, noAnswer, post, refusal, server } from "../service/service";

const JOBS = "/v1/fine_tuning/jobs";
const JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}";
const EVENTS = "/v1/fine_tuning/jobs/{fine_tuning_job_id}/events";
const named = (number: number, suffix: string, fields: Partial<Job> = {}) => aJob(number, { user_provided_suffix: suffix, status: "paused", ...fields });

/** Each job at its own address, and all that have the words of a search. */
function project(...jobs: Job[]) {
  return [
    get(JOB, ({ ids: [id] }) => jobs.find((job) => job.id === id) ?? refusal(404, "There is no such job.")),
    get(JOBS, ({ query }) => listOf(...jobs.filter((job) => JSON.stringify(job).includes(query.get("search") ?? "")))),
  ];
}

test("a job deleted elsewhere stays in a comparison, which says so", async () => {
  const time = clock();
  const { user } = open("/compare?jobs=ftjob-000001,ftjob-000002", ...project(named(1, "goes"), named(2, "stays")));
  expect(wordsOf(await row("goes"))).toContain("paused");
  server.use(...project(named(2, "stays")));
  await time.forward(6000);
  await see("deleted meanwhile");
  expect(wordsOf(await row("stays"))).toContain("paused");
  await user.click(await button("Remove goes"));
  await unsee("goes");
});

test("losses on other files are not judged, and a baseline that is taken out is replaced", async () => {
  const trained = (number: number, best: number) =>
    named(number, `alone-${String(number)}`, {
      status: "succeeded",
      validation_file: `file-${String(number)}`,
      progress: { ...aJob(0).progress, phase: "finished" as never, step: 9, best_valid_loss: best, best_step: 9 },
    });
  const losses = get(`${JOB}/metrics`, { data: [{ step: 9, full_valid_loss: 0.5 } as never], has_more: false, thinned: false });
  const { user } = open("/compare?jobs=ftjob-000001,ftjob-000002&base=ftjob-000001", ...project(trained(1, 0.5), trained(2, 0.25)), losses);
  await see("not comparable: another validation file");
  const other = await row("alone-2");
  expect(wordsOf(other)).not.toMatch(/better|worse/);
  await user.click(await button(/^Add a job/));
  const finder = await dialog("Add a job");
  await fill(user, finder.getByRole("combobox"), "alone");
  await see("All jobs found are compared already.");
  await user.click(finder.getByRole("button", { name: "Close" }));
  await user.click(await button("Remove alone-1"));
  await waitFor(() => expect(screen.getByLabelText<HTMLInputElement>("Use alone-2 as the baseline").checked).toBe(true));
});

test("a job of nobody is said to be none of the project", async () => {
  const { user } = open("/compare?jobs=ftjob-unheard", ...project());
  await see("not in this project");
  await user.click(await button(/^Remove/));
  await see("select some in the list of jobs");
});

test("a search that comes to nothing says why", async () => {
  const { user } = open(
    "/compare",
    get(JOBS, ({ query }) => {
      const words = query.get("search");
      if (words === "refused") return refusal(400, "Those words are too many.", { param: "search" });
      return words === "nobody" ? noAnswer() : listOf();
    }),
  );
  await user.click(await button(/^Add a job/));
  const field = (await dialog("Add a job")).getByRole("combobox");
  await fill(user, field, "refused");
  await see("Those words are too many.");
  await unsee("Nothing matches.");
  await fill(user, field, "nobody");
  await see("The service does not answer.");
  await unsee("Looking…");
  await fill(user, field, "of nothing");
  await see("Nothing matches.");
});

test("answers of several jobs stand beside each other", async () => {
  const answered = (id: string) => [
    aMessage(1, "", { type: "samples", data: { step: 3, rows: [{ line: 1, prompt: "Is it?", expected: "yes", answer: id.endsWith("1") ? "yes" : "no", finished: true }] } }),
  ];
  const tried = (number: number) => named(number, `try-${String(number)}`, { validation_file: "file-2", training: { devices: 1, eval_samples: 1 } });
  open("/compare?jobs=ftjob-000001,ftjob-000002", ...project(tried(1), tried(2)), get(EVENTS, ({ ids: [id = ""] }) => listOf(...answered(id)) as never));
  const answers = await region("Answers");
  expect(wordsOf(await answers.findByRole("group", { name: "try-1" }))).toContain("yes");
  await see("try-1: 1 of 1 as expected");
  await see("try-2: 0 of 1 as expected");
});

test("the palette finds pages, jobs and what can be done here", async () => {
  const needle = named(1, "needle");
  const log = jobWithLog(needle);
  const { user } = open("/compare", ...log, ...project(needle, named(2, "hay")));
  await screen.findByRole("heading", { name: "Compare" });
  await user.keyboard("{Control>}k{/Control}");
  await fill(user, await screen.findByLabelText("Page, job or action"), "needle");
  const options = () => within(screen.getByRole("listbox", { name: "Found" })).queryAllByRole("option");
  await waitFor(() => expect(options()).toHaveLength(1));
  await user.keyboard("{Enter}");
  await screen.findByRole("heading", { level: 1, name: "needle" });

  const cancelled: string[] = [];
  server.use(
    post(`${JOB}/cancel`, ({ ids: [id = ""] }) => {
      cancelled.push(id);
      return { ...needle, status: "cancelled" };
    }),
  );
  await user.keyboard("{Control>}k{/Control}");
  await fill(user, await screen.findByLabelText("Page, job or action"), "cancel");
  expect(options().filter((one) => one.getAttribute("aria-selected") === "true")).toEqual([]); // what cannot be undone is never chosen beforehand
  await user.keyboard("{ArrowDown}{Enter}");
  await user.click((await dialog("Cancel this job?")).getByRole("button", { name: "Cancel job" }));
  await waitFor(() => expect(cancelled).toEqual(["ftjob-000001"]));
});

test("Enter at once opens what was typed, and never what was found before", async () => {
  const jobs = project(named(1, "needle"), named(2, "newest"));
  const { user } = open("/compare", ...jobWithLog(named(1, "needle")), ...jobs);
  await screen.findByRole("heading", { name: "Compare" });
  await user.keyboard("{Control>}k{/Control}");
  await screen.findByRole("option", { name: /newest/ });
  const held = heldBack();
  server.use(get(JOBS, held.then(listOf(named(1, "needle")))));
  await user.type(screen.getByLabelText("Page, job or action"), "needle{Enter}");
  await see("Looking…");
  held.release();
  await screen.findByRole("heading", { level: 1, name: "needle" });
  await user.keyboard("{Control>}k{/Control}");
  await user.type(await screen.findByLabelText("Page, job or action"), "worke{Enter}");
  await screen.findByRole("heading", { level: 1, name: "Workers" });
});

test("an id is told where the browser lets no page copy", async () => {
  const { user } = open("/jobs/ftjob-000001", ...jobWithLog(named(1, "here")));
  await screen.findByRole("heading", { level: 1, name: "here" });
  Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true });
  await user.keyboard("{Control>}k{/Control}");
  await user.type(await screen.findByLabelText("Page, job or action"), "copy{Enter}");
  const told = await dialog("Something went wrong");
  expect(within(await screen.findByRole("dialog")).getByText(/The id is ftjob-000001/)).toBeTruthy();
  await user.click(told.getByRole("button", { name: "Close" }));
});
