import { expect, test } from "vitest";

import { shownSettings } from "@/lib/jobs/settings";
import { compactJson } from "@/lib/text/flatten";

import { aJob } from "./aJob";

const training = { max_length: 512, eval_steps: null, eval_samples: null, learning_rate: 2e-4 };
const job = aJob(1, {
  validation_file: "file-2",
  training: training as never,
  progress: { ...aJob(1).progress, total_steps: 3 * 80 },
  hyperparameters: { n_epochs: 3, batch_size: 4, learning_rate_multiplier: 1 } as never,
});
const option = (usual: unknown) => ({ default: usual });
const defaults = {
  methods: [{ id: job.adapter.type, learning_rate: 2e-4, schema: { properties: { r: option(16) } } }],
  schemas: {
    training: { properties: { max_length: option(null), eval_steps: option(null), eval_samples: option(null), learning_rate: option(null) } },
    objectives: {},
  },
} as never;

test("only settings that differ from their defaults come first", () => {
  const own = aJob(1, { ...job, adapter: { ...job.adapter, r: 64 } as never, validation_file: null, metadata: {} });
  const { changed, automatic, usual } = shownSettings(own, defaults);
  expect(changed.map(([path]) => path)).toContain("adapter.r");
  expect(automatic.map(([path]) => path)).toEqual(["seed", "training.max_length"]);
  expect(usual.map(([path]) => path)).toEqual(expect.arrayContaining(["validation_file", "metadata"]));
});

test("each setting keeps its place", () => {
  const { usual } = shownSettings(job, defaults);
  expect(usual.map(([path]) => path)).toEqual(expect.arrayContaining(["training.eval_steps", "training.learning_rate"]));
});

test("settings that the worker chooses are shown as it chooses them", () => {
  const all = new Map(shownSettings(job, defaults).usual);
  expect(all.get("training.eval_steps")).toBe("20, a quarter of an epoch");
  expect(all.get("training.eval_samples")).toBe("3, before the first step and after the last");
});

test("tools are shown, and so are the most turns unless they are as usual", () => {
  const beside = { properties: { grader: {}, tools: {}, max_episode_steps: option(10) } };
  const known = { methods: [], schemas: { training: {}, objectives: { reinforcement: { hyperparameters: {}, beside } } } } as never;
  const tools = [{ name: "get_time", server_url: "https://tools.example.com/", headers: null }];
  const changed = (reinforcement: object) => {
    const own = aJob(1, { method: { type: "reinforcement", reinforcement } as never });
    return new Map(shownSettings(own, known).changed.filter(([path]) => path.startsWith("method.reinforcement")));
  };
  expect([...changed({ tools: null, max_episode_steps: 10 })]).toEqual([]);
  const shown = changed({ tools, max_episode_steps: 3 });
  expect(shown.get("method.reinforcement.tools")).toBe(JSON.stringify(tools));
  expect(shown.get("method.reinforcement.max_episode_steps")).toBe("3");
});

test("before the defaults are known, all settings are shown", () => {
  expect(shownSettings(job, undefined).usual).toEqual([]);
  expect(compactJson(0.1 + 0.2)).toBe("0.3");
});

test("a seed is shown with all its digits", () => {
  const { changed } = shownSettings(aJob(1, { seed: 1799701153 }), undefined);
  expect(new Map(changed).get("seed")).toBe("1799701153");
});
