/** What every page says while its answer is on its way, and that names and rows are words, whatever they say. */

import { screen, waitFor, within } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { expect, test } from "vitest";

import { aJob } from "../jobs/aJob";
import { aFile, aMessage, anAdapter, anEval } from "../service/objects";
import { open, see, wordsOf } from "../service/open";
import { get, heldBack, jobWithLog, listOf } from "../service/service";

const held = heldBack();
const report = { adapter_id: "adapter-1", measured_at: null, prompts: null, measurement: null, runtimes: [] };

test.each([
  ["/files/file-1", get("/v1/files/{file_id}", held.then(aFile("file-1"))), "First rows"],
  ["/adapters/adapter-1", get("/v1/adapters/{adapter_id}", held.then(anAdapter("adapter-1"))), "Lineage"],
  ["/evals/eval-1", get("/v1/evals/{eval_id}", held.then(anEval("eval-1"))), "No run yet."],
  ["/workers", get("/v1/workers", held.then({ ...listOf(), queues: [] } as never)), "No worker is running"],
])("%s says that it reads until its answer has come", async (path, slow, shown) => {
  open(path, slow, get("/v1/adapters/{adapter_id}/portability", report));
  await waitFor(() => expect(screen.getAllByRole("status").map(wordsOf)).toContain("Reading…"));
  held.release();
  await see(shown);
  await waitFor(() => expect(screen.queryAllByRole("status").map(wordsOf)).not.toContain("Reading…"));
});

const SCRIPT = "<img src=x onerror=\"globalThis.struck='yes'\"><script>globalThis.struck='yes'</script>";
const job = aJob(1, { user_provided_suffix: SCRIPT, metadata: { note: SCRIPT }, status: "paused" });
const file = aFile("file-1", { filename: SCRIPT });
const row = `${JSON.stringify({ messages: [{ role: "user", content: SCRIPT }] })}\n`;
const content = http.get("*/v1/files/:id/content", () => HttpResponse.text(row));

test.each([
  ["/jobs", "", get("/v1/fine_tuning/jobs", listOf(job))],
  ["/jobs/ftjob-000001", "Settings, as", ...jobWithLog(job, aMessage(1, SCRIPT, { level: "warn" }))],
  ["/jobs/ftjob-000001", "Log lines", ...jobWithLog(job, aMessage(1, SCRIPT, { level: "warn" }))],
  ["/files", "", get("/v1/files", listOf(file))],
  ["/files/file-1", "First rows", get("/v1/files/{file_id}", file), content],
  ["/adapters", "", get("/v1/adapters", listOf(anAdapter("adapter-1", { model: SCRIPT })))],
])("script in words is shown at %s %s as it is written, and does nothing", async (path, part, ...answers) => {
  open(path, ...answers);
  const main = within(await screen.findByRole("main"));
  await waitFor(() => {
    const where = part ? main.getByRole(part === "Log lines" ? "log" : "region", { name: new RegExp(part) }) : screen.getByRole("main");
    expect(wordsOf(where)).toContain("onerror");
  });
  expect(document.querySelector("img[src=x]")).toBeNull();
  expect("struck" in globalThis).toBe(false);
});
