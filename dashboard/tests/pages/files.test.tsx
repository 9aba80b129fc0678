import { screen, waitFor, within } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { expect, test } from "vitest";

import { aCheck, aFile, WAITING } from "../service/objects";
import { button, fill, open, region, see, wordsOf } from "../service/open";
import { get, heldBack, listOf, post, refusal, server, signedIn } from "../service/service";

const FILE = aFile("file-1");
const PREVIEW = "/v1/files/{file_id}/preview";
const file = get("/v1/files/{file_id}", FILE);

test("files of one name are told apart", async () => {
  const ids = ["file-aaaaaa", "file-bbbbbb", "file-cccccc"];
  const files = ids.map((id) => aFile(id, { filename: "rows.jsonl" }));
  open("/files", get("/v1/files", listOf(...files, aFile("file-1", { filename: "other.jsonl" }))));
  for (const id of ids) await screen.findByRole("link", { name: new RegExp(`rows.jsonl ?…${id.slice(-6)}`) });
  expect(screen.getByRole("link", { name: "other.jsonl" })).toBeTruthy();
});

test("a slow answer is waited for, and the page says so", async () => {
  const held = heldBack();
  const rows = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "answer 0"}]}\n';
  open("/files/file-1", file, http.get("*/v1/files/:id/content", async () => HttpResponse.text(await held.then(rows)())));
  await screen.findByRole("region", { name: "First rows" });
  await waitFor(() => expect(wordsOf(screen.getByRole("region", { name: "First rows" }))).toContain("Reading…"));
  held.release();
  await see("answer 0");
});

test("a file is checked and mended: while it is checked no other check starts", async () => {
  const { user } = open("/files/file-1", file);
  const check = await region("Check of the content");
  await see("Not checked yet");
  const running = aCheck("check-1", { status: "running", progress: { phase: "reading rows", percent: 40 } });
  const asked: unknown[] = [];
  server.use(
    post("/v1/files/{file_id}/check", ({ body }) => {
      asked.push(body);
      return running;
    }),
    get("/v1/files/{file_id}/checks", listOf(running)),
    get("/v1/files/{file_id}/checks/{check_id}", running),
  );
  await user.click(check.getByRole("button", { name: "Check and make a mended copy" }));
  await check.findByRole("progressbar");
  expect(check.getByRole<HTMLButtonElement>("button", { name: "Check" }).disabled).toBe(true);
  expect(asked).toEqual([{ mend: true }]);
  const count = { code: "exact_duplicate", severity: "warning", count: 8 } as const;
  const finding = {
    ...{ code: "exact_duplicate", severity: "warning", line: 2, field: "messages", other_line: 1 } as const,
    ...{ message: "the row teaches what an earlier row does", mend: "remove the row" },
  };
  const report = {
    ...{ kind: "chat", rows: 11, bad_rows: 0, validation_rows: null, counts: [count], findings: [finding], answers: null },
    ...{ lengths: null, mendable_rows: 8, examples: [] },
  };
  const done = aCheck("check-1", { status: "succeeded", mended_file: "file-2", report });
  server.use(get("/v1/files/{file_id}/checks", listOf(done)), get("/v1/files/{file_id}/checks/{check_id}", done));
  await see("warning exact duplicate 8 ×");
  await see("Line 2: messages the row teaches what an earlier row does (line 1)");
  await see("To mend it, remove the row.");
  expect(check.getByRole("link").getAttribute("href")).toBe("/files/file-2");
});

test("a file of another format is converted", async () => {
  const csv = get("/v1/files/{file_id}", aFile("file-1", { filename: "rain.csv", purpose: "user_data", rows: null, kind: null }));
  const { user } = open("/files/file-1", csv);
  const running = { ...WAITING, id: "conversion-1", file_id: "file-1", request: {}, status: "running", converted_file: null } as const;
  const done = { ...running, status: "succeeded", converted_file: "file-2" } as const;
  const conversion = await button("Convert to a dataset");
  server.use(
    post("/v1/files/{file_id}/convert", running),
    get("/v1/files/{file_id}/conversions", listOf(running)),
    get("/v1/files/{file_id}/conversions/{conversion_id}", running),
  );
  await user.click(conversion);
  await screen.findByRole("progressbar", { name: "Progress of the conversion" });
  expect(conversion.disabled).toBe(true);
  server.use(get("/v1/files/{file_id}/conversions", listOf(done)), get("/v1/files/{file_id}/conversions/{conversion_id}", done));
  expect((await screen.findByRole("link", { name: "file-2" })).getAttribute("href")).toBe("/files/file-2");
});

test("what is learnt is marked, with its weight, and a row that no job takes says why", async () => {
  const conversation = {
    ...{ tokens: 9, learnt_tokens: 4, cut_tokens: 0, cut_text: null },
    segments: [
      { text: "Hello", learnt: false, weight: 0 },
      { text: "Hi!<|im_end|>", learnt: true, weight: 0.5 },
      { text: "See you.<|im_end|>", learnt: true, weight: 1 },
    ],
  };
  const error = { code: "invalid_row", message: "No job takes the row", param: null };
  const { user } = open(
    "/files/file-1",
    file,
    post(PREVIEW, ({ body }) => {
      expect(body).toEqual({ model: "tiny", lines: [1, 2] });
      const rows = [{ line: 1, is_learnt: true, conversations: [conversation] }, { line: 2, error }];
      return { file_id: "file-1", model: "tiny", max_length: 512, numbered_by: "line", rows } as never;
    }),
  );
  const masks = await region("What is learnt");
  const lines = masks.getByLabelText("Lines or rows, at most 20");
  await fill(user, lines, "1, 2");
  await waitFor(() => expect(masks.getByRole<HTMLButtonElement>("button", { name: "Show rows" }).disabled).toBe(false));
  await user.click(masks.getByRole("button", { name: "Show rows" }));
  await see("Line 2: No job takes the row");
  const marked = masks.getAllByRole("listitem").flatMap((item) => [...item.querySelectorAll("mark")].map(wordsOf));
  expect(marked).toEqual(["Hi!<|im_end|>", "See you.<|im_end|>"]);
  expect(wordsOf(document.querySelector("li sub"))).toContain("×0.5");
});

test("what cannot be read or rendered says why", async () => {
  const refused = () => refusal(503, "No server is running.", { code: "no_server" });
  const { user } = open("/files/file-1", file, get("/v1/files/{file_id}/checks", refused), post(PREVIEW, refused));
  await waitFor(() => expect(wordsOf(screen.getByRole("region", { name: "Check of the content" }))).toContain("No server is running."));
  const masks = await region("What is learnt");
  await waitFor(() => expect(masks.getByRole<HTMLButtonElement>("button", { name: "Show rows" }).disabled).toBe(false));
  await user.click(masks.getByRole("button", { name: "Show rows" }));
  await waitFor(() => expect(wordsOf(screen.getByRole("region", { name: "What is learnt" }))).toContain("No server is running."));
});

test("a key that may only read is offered the download alone", async () => {
  open("/files/file-1", file, signedIn({ role: "read-only" }));
  const main = within(await screen.findByRole("main"));
  await main.findByRole("link", { name: "Download" });
  await see("This key may only read");
  expect(main.queryByRole("button", { name: "Delete" })).toBeNull();
});
