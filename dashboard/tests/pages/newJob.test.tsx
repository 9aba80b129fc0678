/** The form of a new job with what this service offers: tests/unit/dashboard writes that into a file. */

import { readFileSync } from "node:fs";

import { screen, waitFor, within } from "@testing-library/react";
import { http, HttpResponse } from "msw";
import { describe, expect, test } from "vitest";

import type { Got } from "@/api/routes";
import type { CreateJob } from "@/types/api";

import { aJob } from "../jobs/aJob";
import { aFile } from "../service/objects";
import { button, fill, open, see, wordsOf } from "../service/open";
import { get, jobWithLog, listOf, noAnswer, post, refusal, server, signedIn } from "../service/service";

const path = process.env.TUNERY_OFFERED;
const JOBS = "/v1/fine_tuning/jobs";
const rows = new File(['{"messages": []}\n'], "rows.jsonl");

describe.skipIf(path === undefined)("the form of a new job", () => {
  const offered = JSON.parse(path === undefined ? "{}" : readFileSync(path, "utf8")) as { document: object; methods: Got<"/v1/methods">["data"] };

  const offers = () => [
    http.get("*/openapi.json", () => HttpResponse.json(offered.document)),
    get("/v1/methods", listOf(...offered.methods)),
    get("/v1/integrations", listOf(...["wandb", "mlflow", "tensorboard"].map((id) => ({ id, tracking_uris: [] })))),
  ];

  /** Opens the form. Returns what was asked to create, with the key of each request. */
  function form(...answers: Parameters<typeof open> extends [string, ...infer Rest] ? Rest : never) {
    const asked: { body: CreateJob; key: string | null }[] = [];
    const created = aJob(1, { user_provided_suffix: "made", status: "paused" });
    const opened = open(
      "/new",
      ...answers,
      ...offers(),
      get("/v1/files", listOf(aFile("file-1"), aFile("file-2", { filename: "held-out.jsonl" }))),
      post("/v1/fine_tuning/estimates", () => refusal(400, "No estimate.")),
      post(JOBS, ({ body, headers }) => {
        asked.push({ body, key: headers.get("idempotency-key") });
        return created;
      }),
      ...jobWithLog(created),
    );
    return { ...opened, asked, review: async () => wordsOf(await screen.findByRole("region", { name: /Review/ })) };
  }

  /** The same, with a model and a file, so that the job can be created. */
  async function filled(...answers: Parameters<typeof form>) {
    const opened = form(...answers);
    await opened.user.selectOptions(await screen.findByLabelText("Base model"), "tiny");
    await screen.findAllByRole("option", { name: /train.jsonl/ });
    await opened.user.selectOptions(screen.getByLabelText("Training file"), "file-1");
    return opened;
  }

  const create = () => button("Create job");
  const unfold = () => screen.findByText("Advanced");
  const field = (name: string | RegExp) => screen.findByLabelText<HTMLInputElement>(name);

  test("a recipe fills in the method, and leaves the files", async () => {
    const { user, review, asked } = await filled();
    await user.click(await button(/^Preferences/));
    expect(await review()).toContain('"type": "dpo"');
    expect(screen.getByLabelText<HTMLSelectElement>("Training file").value).toBe("file-1");
    const classification = await button(/^Classification/);
    await user.click(classification);
    expect(classification.getAttribute("aria-pressed")).toBe("true");
    expect((await field(/^Rank r$/)).value).toBe("8");
    expect(await review()).not.toContain("dpo");
    await user.click(await create());
    await waitFor(() => expect(asked).toHaveLength(1));
  });

  test("a grader is begun from an example, checked, tried on a row, and sent", async () => {
    const runs: unknown[] = [];
    const checks: unknown[] = [];
    const { user, asked } = await filled(
      get("/v1/files", listOf(aFile("file-1"), aFile("file-2", { filename: "prompts.jsonl", kind: "prompt" }))),
      http.get("*/v1/files/:id/content", () => HttpResponse.text('{"messages": [], "reference": "4"}\n')),
      post("/v1/fine_tuning/alpha/graders/validate", ({ body }) => {
        checks.push(body.grader);
        return body.grader.type === "multi" ? refusal(400, "The formula cannot be used.", { param: "grader.calculate_output" }) : ({} as never);
      }),
      post("/v1/fine_tuning/alpha/graders/run", ({ body }) => {
        runs.push(body);
        return { reward: 1, sub_rewards: {}, metadata: { errors: {} } } as never;
      }),
    );
    expect(screen.queryByLabelText(/^Grader, as JSON/)).toBeNull();
    await user.click(await button(/^Rewards/));
    const group = screen.getByLabelText("Training file").querySelector("optgroup[label='Files with rows that fit']");
    expect(wordsOf(group)).toContain("prompts.jsonl");
    await user.click(await create());
    await user.click(within(await screen.findByRole("alert")).getByRole("button", { name: "method.reinforcement.grader" }));
    const grader = await field(/^Grader, as JSON/);
    expect(document.activeElement).toBe(grader);

    const example = screen.getByLabelText("Start from an example");
    await user.selectOptions(example, "A formula over graders (multi)");
    await see("The formula cannot be used. grader.calculate_output");
    await user.selectOptions(example, "Equal to a key of the row (string_check)");
    await see("The service can use this grader.");
    expect(checks).toHaveLength(2);
    await user.click(screen.getByText("Try it on one row"));
    await fill(user, await field("Answer"), "4");
    await user.click(await button("Grade"));
    await see("Reward 1.000");
    expect(runs).toMatchObject([{ grader: { type: "string_check" }, model_sample: "4", item: { messages: [], reference: "4" } }]);

    await fill(user, grader, '{"type": ');
    await see("It must be a JSON object.");
    await fill(user, grader, '{"type": "python", "name": "code", "source": ""}');
    await user.click(await create());
    await waitFor(() => expect(asked[0]?.body.method).toEqual({ type: "reinforcement", reinforcement: { grader: { type: "python", name: "code", source: "" } } }));
  });

  test("an audit has a check of its own, and is sent beside the grader", async () => {
    const { user, asked } = await filled(post("/v1/fine_tuning/alpha/graders/validate", {} as never));
    await user.click(await button(/^Rewards/));
    await user.click(screen.getByText(/^Audit:/));
    await user.selectOptions(screen.getByLabelText("Start from an example"), "Equal to a key of the row (string_check)");
    await user.selectOptions(screen.getByLabelText("Start the audit from an example"), "Similar to a key of the row (text_similarity)");
    await waitFor(() => expect(screen.getAllByText("The service can use this grader.")).toHaveLength(2));
    await user.click(await create());
    const sent = { grader: { type: "string_check" }, audit_grader: { type: "text_similarity" } };
    await waitFor(() => expect(asked[0]?.body.method).toMatchObject({ type: "reinforcement", reinforcement: sent }));
  });

  test("tools are listed with their URLs, headers and the most turns", async () => {
    const { user, asked } = await filled(post("/v1/fine_tuning/alpha/graders/validate", {} as never));
    expect(screen.queryByText(/^Tools:/)).toBeNull();
    await user.click(await button(/^Rewards/));
    await user.selectOptions(screen.getByLabelText("Start from an example"), "Equal to a key of the row (string_check)");
    await user.click(screen.getByText(/^Tools:/));
    const add = await button("Add a tool");
    await user.click(add);
    await user.click(add);
    const tool = (number: number) => within(screen.getByRole("group", { name: `Tool ${number}` }));
    await fill(user, tool(1).getByLabelText(/^Name/), "get_time");
    await fill(user, tool(1).getByLabelText(/^URL/), "https://tools.example.com/");
    await fill(user, tool(1).getByLabelText(/^Headers/), "authorization: Bearer a:b=");
    await user.click(await create());
    await user.click(within(await screen.findByRole("alert")).getByRole("button", { name: "method.reinforcement.tools.1.name" }));
    expect(document.activeElement).toBe(tool(2).getByLabelText(/^Name/));
    await user.click(tool(2).getByText("Remove the tool"));
    await fill(user, await field(/^Most turns/), "4");
    await user.click(await create());
    const tools = [{ name: "get_time", server_url: "https://tools.example.com/", headers: { authorization: "Bearer a:b=" } }];
    await waitFor(() => expect(asked[0]?.body.method).toMatchObject({ reinforcement: { tools, max_episode_steps: 4 } }));
  });

  test("a header of a tool that the service refuses is told at the headers", async () => {
    const param = "method.reinforcement.tools.0.headers.host";
    const refused = post(JOBS, () => refusal(400, "The header 'host' cannot be sent.", { param }));
    const { user } = await filled(refused, post("/v1/fine_tuning/alpha/graders/validate", {} as never));
    await user.click(await button(/^Rewards/));
    await user.selectOptions(screen.getByLabelText("Start from an example"), "Equal to a key of the row (string_check)");
    await user.click(screen.getByText(/^Tools:/));
    await user.click(await button("Add a tool"));
    const tool = within(await screen.findByRole("group", { name: "Tool 1" }));
    await fill(user, tool.getByLabelText(/^Name/), "get_time");
    await fill(user, tool.getByLabelText(/^URL/), "https://tools.example.com/");
    await fill(user, tool.getByLabelText(/^Headers/), "host: a");
    await user.click(await create());
    await user.click(within(await screen.findByRole("alert")).getByRole("button", { name: "method.reinforcement.tools.0.headers" }));
    expect(document.activeElement).toBe(tool.getByLabelText(/^Headers/));
  });

  test("a teacher is named where an objective learns from one", async () => {
    const { user, asked } = await filled();
    await user.click(await screen.findByLabelText(/^Distillation/));
    await fill(user, await field(/^Teacher/), "big");
    await user.click(await create());
    await waitFor(() => expect(asked[0]?.body.method).toEqual({ type: "distillation", distillation: { teacher: "big" } }));
  });

  test("the chosen file says what the job takes, and a tenth of it is held out", async () => {
    const device = { device: "this-machine", name: "cpu", fits: true, seconds: { least: 60, most: 60 } };
    const estimate = { tokens: { count: 480, exact: false }, steps: { count: 12, exact: true }, devices: [device] };
    const { user, review, asked } = await filled(post("/v1/fine_tuning/estimates", estimate as never));
    await waitFor(() => expect(wordsOf(screen.getByLabelText("The training file"))).toMatch(/12 chat rows.*Tokens to train onabout 480.*Steps12/));
    await user.click(await field(/Hold out a tenth/));
    expect(await review()).toContain('"validation_split": 0.1');
    await user.click(await create());
    await waitFor(() => expect(asked[0]?.body.validation_split).toBe(0.1));
  });

  test("an adapter is found by words among its group", async () => {
    const { user } = form();
    const adapter = await screen.findByLabelText<HTMLSelectElement>(/^Adapter adapter.type/);
    expect(adapter.querySelectorAll("optgroup[label=Rotations] option")).toHaveLength(4);
    const search = screen.getByLabelText("Search the adapters");
    await fill(user, search, "boft");
    expect(adapter.querySelectorAll("optgroup option")).toHaveLength(1);
    await user.selectOptions(adapter, "boft");
    await user.clear(search);
    expect(adapter.value).toBe("boft");
  });

  test("the learning rate and its multiplier are explained as one", async () => {
    const { user } = form();
    const rate = await field(/^Learning rate learning_rate$/);
    await fill(user, rate, "0.001");
    await user.click(await unfold());
    await fill(user, await field(/learning_rate_multiplier/), "2");
    const described = (rate.getAttribute("aria-describedby") ?? "").split(" ").map((id) => wordsOf(document.getElementById(id)));
    expect(described.join()).toContain("multiplier 2 under Advanced, the job trains at 0.002");
  });

  test("the training rows get variants, and a share that is held out", async () => {
    const { user, asked, review } = await filled();
    await user.click(await unfold());
    const group = within(await screen.findByRole("group", { name: "Training rows" }));
    await fill(user, group.getByLabelText(/validation_split/), "8");
    expect((await field(/Hold out 8 rows/)).checked).toBe(true);
    await fill(user, group.getByLabelText(/copies/), "2");
    await user.click(group.getByLabelText(/few_shot_order/));
    await fill(user, group.getByLabelText(/system_prompts/), "Be brief, please.\nBe kind.");
    await user.click(await button("CLI"));
    expect(await review()).toContain("--set augmentation.copies=2");
    await user.click(await create());
    await waitFor(() => expect(asked[0]?.body).toMatchObject({
      validation_split: 8,
      augmentation: { copies: 2, few_shot_order: true, system_prompts: ["Be brief, please.", "Be kind."] },
    }));
  });

  test("what the service refuses is told at its field, and a click leads there", async () => {
    const { user } = await filled(post(JOBS, () => refusal(400, "Candidates are compared by a validation loss.", { param: "validation_file" })));
    await user.click(await create());
    const alert = within(await screen.findByRole("alert"));
    const validation = screen.getByLabelText("Validation file");
    expect(validation.getAttribute("aria-invalid")).toBe("true");
    await user.click(alert.getByRole("button", { name: "validation_file" }));
    expect(document.activeElement).toBe(validation);
  });

  test("variants that are refused are told at their group", async () => {
    const { user } = await filled(post(JOBS, () => refusal(400, "Name a kind of variants.", { param: "augmentation" })));
    await user.click(await unfold());
    const group = await screen.findByRole("group", { name: "Training rows" });
    await fill(user, within(group).getByLabelText(/copies/), "3");
    await user.click(await create());
    await user.click(within(await screen.findByRole("alert")).getByRole("button", { name: "augmentation" }));
    expect(document.activeElement).toBe(group);
  });

  test("the address that one would guess leads to the form", async () => {
    const { router } = open("/jobs/new?model=tiny", ...offers());
    await screen.findByRole("heading", { name: "New job" });
    expect(router.state.location.href).toBe("/new?model=tiny");
  });

  test("a name with a space is told in words what a name may have", async () => {
    const { user } = form();
    await fill(user, await field(/^Name suffix/), "my first job");
    await user.tab();
    await see("letters, digits, dots, dashes and underscores, without spaces");
    expect(wordsOf(document.body)).not.toContain("[A-Za-z0-9");
  });

  test("a sweep is put together, and stays when the page is opened again", async () => {
    const sweeps: unknown[] = [];
    const sweep = post("/v1/fine_tuning/sweeps", ({ body }) => {
      sweeps.push(body);
      return { job_id: "ftjob-000001" } as never;
    });
    const { user, review } = await filled(sweep);
    await user.selectOptions(screen.getByLabelText("Validation file"), "file-2");
    await user.click(await unfold());
    await user.click(await field(/Try several values/));
    await see("Name values to try");
    await fill(user, await field(/^Rank adapter.r$/), "2, 4");
    await fill(user, await field(/^Modules to adapt adapter.target_modules$/), "all-linear, q_proj+v_proj");
    await see("4 candidates");
    await user.click(await button("CLI"));
    expect(await review()).toContain("--try adapter.r=2,4");
    expect(Object.values(sessionStorage).join()).toContain("2");
    await user.click(await button("Create sweep"));
    await waitFor(() => expect(sweeps).toHaveLength(1));
    expect(sweeps[0]).toMatchObject({ parameters: { "adapter.r": [2, 4], "adapter.target_modules": ["all-linear", ["q_proj", "v_proj"]] } });
  });

  test("a sweep is cloned with its values, or its winner alone", async () => {
    const sweep = { parameters: { "adapter.r": [2, 4] } } as never;
    const candidates = { data: [{}, {}] as never, winner: 0, cost: null };
    const { user } = open(
      "/new?from=ftjob-000001",
      get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/candidates", candidates),
      get("/v1/fine_tuning/sweeps/{sweep_id}", sweep),
      ...offers(),
      post("/v1/fine_tuning/estimates", () => refusal(400, "No estimate.")),
      ...jobWithLog(aJob(1, { validation_file: "file-2", adapter: { type: "lora", r: 4 } })),
    );
    expect((await field(/^Rank adapter.r$/)).value).toBe("2, 4");
    await user.click(screen.getByRole("link", { name: "Train only the winner" }));
    await create();
    expect((await field(/Try several values/)).checked).toBe(false);
  });

  test("a tracker is chosen with what it needs", async () => {
    const { user, asked } = await filled();
    await user.click(await unfold());
    await user.click(await field(/Weights & Biases/));
    await user.click(await create());
    await user.click(within(await screen.findByRole("alert")).getByRole("button", { name: "integrations.0.wandb.project" }));
    const project = await field(/project \(required\)/);
    expect(document.activeElement).toBe(project);
    await fill(user, project, "support-bot");
    await user.click(await create());
    await waitFor(() => expect(asked[0]?.body.integrations).toEqual([{ type: "wandb", wandb: { project: "support-bot" } }]));
  });

  test("a job whose answer was lost is asked for again by the same key", async () => {
    const { user, asked } = await filled();
    await fill(user, await field(/^Name suffix/), "only-one");
    const keys: (string | null)[] = [];
    server.use(
      post(JOBS, ({ headers }) => {
        keys.push(headers.get("idempotency-key"));
        return noAnswer();
      }),
    );
    await user.click(await create());
    await see("The service does not answer.");
    await see("the same request makes no second job");
    expect((await field(/^Name suffix/)).value).toBe("only-one");
    server.use(
      post(JOBS, ({ body, headers }) => {
        asked.push({ body, key: headers.get("idempotency-key") });
        return aJob(1);
      }),
    );
    await user.click(await create());
    await waitFor(() => expect(asked.map(({ key }) => key)).toEqual(keys));
  });

  test("a file that is refused lists its lines and is not chosen, and the next one is", async () => {
    const error = { message: "Rows are wrong.", code: "invalid_file", param: null, details: [{ line: 13, field: "messages", message: "is empty" }] };
    const { user } = form(http.post("*/v1/files", () => HttpResponse.json({ error }, { status: 400 })));
    const upload = await field("Upload a training file");
    await user.upload(upload, rows);
    await see("rows.jsonl was not uploaded");
    await see("Line 13");
    const training = screen.getByLabelText<HTMLSelectElement>("Training file");
    expect(training.value).toBe("");
    server.use(http.post("*/v1/files", noAnswer));
    await user.upload(await field("Upload a training file"), rows);
    await see("The service does not answer.");
    server.use(http.post("*/v1/files", () => HttpResponse.json(aFile("file-3", { filename: "mended.jsonl" }))));
    await user.upload(await field("Upload a training file"), rows);
    await waitFor(() => expect(training.value).toBe("file-3"));
    expect(screen.queryByRole("alert")).toBeNull();
  });

  test("an evaluation is offered if there are rows to judge", async () => {
    const { user, review } = await filled();
    expect(screen.queryByLabelText(/Evaluate against the base model/)).toBeNull();
    await user.selectOptions(screen.getByLabelText("Validation file"), "file-2");
    await user.click(await field(/Evaluate against the base model/));
    expect(await review()).toContain('"evaluate": {}');
  });

  test("a key that may only read cannot create a job", async () => {
    form(signedIn({ role: "read-only" }));
    expect((await create()).disabled).toBe(true);
    await see("This key is read-only");
  });
});
