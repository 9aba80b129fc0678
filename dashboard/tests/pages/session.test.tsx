import { screen } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { expect, onTestFinished, test } from "vitest";

import { aJob } from "../jobs/aJob";
import { button, clock, dialog, fill, open, see, wordsOf } from "../service/open";
import { jobWithLog, noAnswer, refusal, server, signedIn } from "../service/service";

const signedOut = http.get("*/v1/session", () => refusal(401, "Sign in."));

/** The address of the page, in which a one-time link stands. */
function linked(): void {
  location.hash = "#link=tnl_1";
  onTestFinished(() => void (location.hash = ""));
}

test("a link tells whose key it signs in with, and a name between backticks is code", async () => {
  linked();
  const key = { project: { id: "proj_1", name: "shop" }, role: "member", key_name: "made by `tunery up`" };
  open("/jobs", signedOut, http.post("*/v1/sign_in/link", () => HttpResponse.json(key)));
  await see("This link signs you in with the API key of somebody");
  expect(screen.getAllByRole("definition").map(wordsOf)).toEqual(["shop", "made by tunery up", "member"]);
  expect(wordsOf(document.querySelector("dd code"))).toBe("tunery up");
});

test("a link that was used asks for a key", async () => {
  linked();
  open("/jobs", signedOut, http.post("*/v1/sign_in/link", () => refusal(400, "This link has been used or is too old.")));
  await see("has been used or is too old");
  await screen.findByLabelText("API key");
});

test("a revoked key leads to the sign-in, and the next one back to the page", async () => {
  const time = clock();
  const answers = jobWithLog(aJob(1, { status: "paused" }));
  const { user } = open("/jobs/ftjob-000001", ...answers);
  await screen.findByRole("heading", { level: 1, name: "ftjob-000001" });
  server.use(http.get("*/v1/*", () => refusal(401, "This key was revoked.")));
  await time.forward(31_000);
  await screen.findByRole("heading", { name: "Sign in" });
  await see("You were signed out: This key was revoked.");
  const session = { project: { id: "proj_1", name: "shop" }, role: "member", key_name: "next", is_operator: false, expires_at: null };
  server.use(...answers, http.post("*/v1/sign_in", () => HttpResponse.json(session)));
  await fill(user, screen.getByLabelText("API key"), "tnr_next");
  await user.click(await button("Sign in"));
  await screen.findByRole("heading", { level: 1, name: "ftjob-000001" });
});

test("a sign-out that fails is told, and nobody is signed out", async () => {
  const { user } = open("/files", http.delete("*/v1/session", noAnswer));
  await screen.findByRole("heading", { level: 1, name: "Files" });
  await user.click(await button("Sign out"));
  const told = await dialog("Something went wrong");
  told.getByText("The service does not answer.");
  await user.click(told.getByRole("button", { name: "Close" }));
  await screen.findByRole("heading", { level: 1, name: "Files" });
  server.use(http.delete("*/v1/session", () => new HttpResponse(null, { status: 204 })));
  await user.click(await button("Sign out"));
  await screen.findByRole("heading", { name: "Sign in" });
});

test("who may only read is told why no sample job is offered", async () => {
  open("/jobs", signedIn({ role: "read-only" }));
  await see("This key may only read");
  expect(screen.queryByRole("button", { name: "Run the sample job" })).toBeNull();
});
