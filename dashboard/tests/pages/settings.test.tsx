import { screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";

import { button, dialog, fill, open, region, row, see, wordsOf } from "../service/open";
import { get, listOf, post, refusal, remove, server, signedIn } from "../service/service";

const SCRIPT = '<img src=x onerror="globalThis.struck=1">';
const KEYS = "/v1/organization/projects/{project_id}/api_keys";
const CHECK = "/v1/organization/base_models/check";
const admin = signedIn({ role: "admin" });
const operator = signedIn({ role: "admin", is_operator: true });
const aKey = (name: string) => ({ id: "key-1", name, role: "member" as const, created_at: 0, expires_at: null, redacted_value: "tnr_…" });

test("a name between backticks is shown as code", async () => {
  open("/settings", admin, get(KEYS, listOf(aKey("made by `tunery up`, not by `me"))));
  const shown = await row("made by");
  expect(wordsOf(shown.querySelector("code"))).toBe("tunery up");
  expect(wordsOf(shown)).toContain("made by tunery up, not by `me");
});

test("a new key is asked for with its role and lifetime, and its name is cleared", async () => {
  const asked: unknown[] = [];
  const made = post(KEYS, ({ body }) => {
    asked.push(body);
    return { ...aKey("notebook"), value: "tnr_secret" };
  });
  const { user } = open("/settings", admin, get(KEYS, listOf()), made);
  await fill(user, await screen.findByLabelText("Name"), "notebook");
  await user.selectOptions(screen.getByLabelText("Expires"), "in 7 days");
  await user.click(await button("Create key"));
  await user.click((await dialog("The new key")).getByRole("button", { name: "I have copied it" }));
  await waitFor(() => expect(screen.queryByText("tnr_secret")).toBeNull());
  expect(asked).toEqual([{ name: "notebook", role: "member", expires_in_seconds: 7 * 24 * 3600 }]);
  expect(screen.getByLabelText<HTMLInputElement>("Name").value).toBe("");
  expect(screen.getByLabelText<HTMLSelectElement>("Expires").selectedOptions[0]?.text).toBe("in 7 days");
});

test("secrets are set and never shown", async () => {
  const hosts = ["api.wandb.ai", "*.example.com"];
  const secret = { id: "secret-1", name: "WANDB_API_KEY", hosts, created_at: 0, updated_at: 0 };
  const asked: unknown[] = [];
  const { user } = open("/settings?part=secrets", admin, get("/v1/secrets", listOf()));
  await fill(user, await screen.findByLabelText(/^Name/), "WANDB_API_KEY");
  await fill(user, screen.getByLabelText(/^Value/), "very-secret");
  await fill(user, screen.getByLabelText(/^Hosts/), "api.wandb.ai, *.example.com");
  const set = post("/v1/secrets", ({ body }) => {
    asked.push(body);
    return secret;
  });
  server.use(set, get("/v1/secrets", listOf(secret)));
  await user.click(await button("Set secret"));
  expect(wordsOf(await row("WANDB_API_KEY"))).toContain("api.wandb.ai, *.example.com");
  expect(asked).toEqual([{ name: "WANDB_API_KEY", value: "very-secret", hosts }]);
  await waitFor(() => expect(screen.getByLabelText<HTMLInputElement>(/^Value/).value).toBe(""));
  expect(document.body.innerHTML).not.toContain("very-secret");
  await user.click(await button("Delete WANDB_API_KEY"));
  server.use(remove("/v1/secrets/{secret_name}", {}), get("/v1/secrets", listOf()));
  await user.click((await dialog()).getByRole("button", { name: "Delete secret" }));
  await see("No secret.");
});

test("script in the name of a key is shown as it is written", async () => {
  open("/settings", admin, get(KEYS, listOf(aKey(SCRIPT))));
  await see("onerror");
  expect(document.querySelector("img[src=x]")).toBeNull();
});

test("script in the name of a webhook is shown as it is written", async () => {
  const endpoint = { created_at: 0, updated_at: 0, url: "https://127.0.0.1:9/hook", signing_secret_hint: "…", enabled: true };
  const hook = { ...endpoint, id: "hook-1", name: SCRIPT, event_types: ["fine_tuning.job.succeeded" as const] };
  open("/settings?part=webhooks", admin, get("/v1/webhook_endpoints", listOf(hook)));
  await see("onerror");
  expect(document.querySelector("img[src=x]")).toBeNull();
});

test("what a key may not do is not offered", async () => {
  open("/settings");
  await see("for administrators of the project");
  expect(screen.queryByRole("button", { name: "Create key" })).toBeNull();
});

test("administrators of other projects are not offered the catalog of base models", async () => {
  open("/settings?part=models", admin);
  await see("are the operator's");
  await screen.findByRole("link", { name: "Usage" });
  expect(screen.queryByRole("link", { name: "Base models" })).toBeNull();
});

test("what keeps a model from being added is said", async () => {
  const model = { id: "strange", repository: "example/Strange", source: "hub", revision: "0", license: "mit", max_length: 512, quantization: null } as const;
  const found = { model, trainable: false, checks: [{ name: "architecture", state: "fail", found: "unheard of", advice: null }], fits: [], catalog_file: null };
  const look = post(CHECK, ({ body: { repository } }) =>
    repository === "example/Gated" ? refusal(400, "Accept its terms, then set HF_TOKEN.") : (found as never),
  );
  const { user } = open("/settings?part=models", operator, get("/v1/organization/base_models", listOf()), look);
  const name = await screen.findByLabelText("Name at the hub");
  await fill(user, name, "example/Gated");
  await user.click(await button("Look"));
  await see("set HF_TOKEN");
  await fill(user, name, "example/Strange");
  await user.click(await button("Look"));
  await region("What was found of example/Strange");
  await see("Jobs cannot train this model: architecture.");
  expect(screen.queryByRole("button", { name: "Add to the catalog" })).toBeNull();
});
