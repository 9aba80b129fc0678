import { describe, expect, test } from "vitest";

import { type Draft, EMPTY_DRAFT, fieldPaths, problemsOf, requestOf } from "@/lib/newJob/draft";
import { settingsOf, trackerSettings, withTracker } from "@/lib/newJob/trackers";
import { schemaFields } from "@/lib/schemas/schemaFields";

import { OFFER } from "./offer";

const { schemas, trackers } = OFFER;
const wandb = trackerSettings("wandb", schemas, trackers);
const BEGUN: Draft = { ...EMPTY_DRAFT, model: "tiny-model", training_file: "file-1" };
const reporting = (integrations: Draft["integrations"]): Draft => ({ ...BEGUN, integrations });

describe("a tracker", () => {
  test("is chosen with its settings, changed in the list, and removed", () => {
    let chosen = withTracker([], "wandb", {}, wandb);
    chosen = withTracker(chosen, "tensorboard", {}, null);
    chosen = withTracker(chosen, "wandb", { project: "mine" }, wandb);
    expect(chosen).toEqual([{ type: "wandb", wandb: { project: "mine" } }, { type: "tensorboard" }]);
    expect(chosen.map(settingsOf)).toEqual([{ project: "mine" }, {}]);
    expect(requestOf(reporting(chosen), OFFER).integrations).toEqual(chosen);
    expect(withTracker(chosen, "wandb", null, wandb)).toEqual([{ type: "tensorboard" }]);
  });

  test("gets a problem at the field of a missing setting", () => {
    const draft = reporting(withTracker([{ type: "tensorboard" }], "wandb", {}, wandb));
    expect(problemsOf(draft, OFFER)).toEqual([{ path: "integrations.1.wandb.project", message: "It is required." }]);
    expect(fieldPaths(draft, OFFER)).toContain("integrations.1.wandb.project");
    expect(problemsOf(reporting(withTracker([], "wandb", { project: "mine" }, wandb)), OFFER)).toEqual([]);
  });

  test("offers the operator's servers, the default first", () => {
    const settings = trackerSettings("mlflow", schemas, trackers) ?? {};
    const uri = schemaFields(settings).find(({ name }) => name === "tracking_uri");
    expect(uri?.kind).toBe("choice");
    expect(uri?.schema).toMatchObject({ enum: ["https://first", "https://second"], default: "https://first" });
    expect(trackerSettings("tensorboard", schemas, trackers)).toBeNull();
  });
});
