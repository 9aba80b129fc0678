import { expect, test } from "vitest";

import { type Command, matchingCommands } from "@/lib/commands";

const command = (label: string, hint: string): Command => ({ id: label, label, hint, run: () => undefined });
const all = [command("Pause this job", "action"), command("Jobs", "page"), command("big-job", "running job · ftjob-1a")];
const found = (typed: string) => matchingCommands(all, typed).map(({ label }) => label);

test("every word must be found, in the label or beside it", () => {
  expect(found("job pause")).toEqual(["Pause this job"]);
  expect(found("FTJOB-1A")).toEqual(["big-job"]);
  expect(found("nothing")).toEqual([]);
});

test("what begins with what was typed comes first, and all come in their order where nothing was", () => {
  expect(found("job")).toEqual(["Jobs", "Pause this job", "big-job"]);
  expect(found("  ")).toEqual(["Pause this job", "Jobs", "big-job"]);
});
