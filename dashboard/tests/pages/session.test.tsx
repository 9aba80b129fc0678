import { screen } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { expect, onTestFinished, test } from "vitest";

import { aJob } from "../jobs/aJob";
import { button, clock, dialog, fill, open, see, wordsOf } from "../service/open";
import { get, jobWithLog, noAnswer, refusal, server, signedIn } from "../service/service";

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

const ways = (fields: object) => get("/v1/sign_in", { object: "sign_in.ways", by_key: true, sign_on: null, problem: null, ...fields });

test("who may sign on is led to the provider, and from there back to the page", async () => {
  history.replaceState(null, "", "/jobs?status=failed");
  onTestFinished(() => history.replaceState(null, "", "/"));
  open("/jobs", signedOut, ways({ sign_on: "Example" }));
  const link = await screen.findByRole("link", { name: "Sign in with Example" });
  expect(link.getAttribute("href")).toBe("/v1/sign_on?next=%2Fjobs%3Fstatus%3Dfailed");
  screen.getByLabelText("API key");
});

test("where people have to sign on, no key is asked for, and a problem is told", async () => {
  history.replaceState(null, "", "/sign-in?problem=sign_on_without_group");
  onTestFinished(() => history.replaceState(null, "", "/"));
  const asked: (string | null)[] = [];
  open("/sign-in", signedOut, get("/v1/sign_in", ({ query }) => {
    asked.push(query.get("problem"));
    return { object: "sign_in.ways" as const, by_key: false, sign_on: "Example", problem: "None of your groups may use this service." };
  }));
  await see("None of your groups may use this service.");
  expect(asked).toEqual(["sign_on_without_group"]);
  const link = screen.getByRole("link", { name: "Sign in with Example" });
  expect(link.getAttribute("href")).toBe("/v1/sign_on?next=%2F");
  expect(screen.queryByLabelText("API key")).toBeNull();
});

test("a person chooses among their projects, and a key has only one", async () => {
  const projects = [
    { id: "proj_1", name: "shop" },
    { id: "proj_2", name: "lab" },
  ];
  open("/files", signedIn({ sign_on_projects: projects }));
  const choice = await screen.findByRole("combobox", { name: "Project" });
  expect([...choice.querySelectorAll("option")].map(wordsOf)).toEqual(["shop", "lab"]);
  expect((choice as HTMLSelectElement).value).toBe("shop");
});

test("a sign-on to another project that has failed is told, though the session lives on", async () => {
  history.replaceState(null, "", "/sign-in?problem=sign_on_without_project");
  onTestFinished(() => history.replaceState(null, "", "/"));
  const told = "None of your groups may use this project.";
  open("/sign-in?problem=sign_on_without_project", ways({ problem: told }));
  await see(told);
  await see("You are still signed in to the project shop.");
  expect(screen.getByRole("link", { name: "Back to its jobs" }).getAttribute("href")).toBe("/jobs");
});
