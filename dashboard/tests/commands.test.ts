import { describe, expect, test } from "vitest";

import { activeCommand, type Command, matchingCommands, MOST_FOUND, shownCommands } from "@/components/finder/commands";

const command = (label: string, hint: string): Command => ({ id: label, label, hint, run: () => undefined });
const all = [command("Pause this job", "action"), command("Jobs", "page"), command("big-job", "running job · ftjob-1a")];
const found = (typed: string) => matchingCommands(all, typed).map(({ label }) => label);

test("every word must match the label or the hint", () => {
  expect(found("job pause")).toEqual(["Pause this job"]);
  expect(found("FTJOB-1A")).toEqual(["big-job"]);
  expect(found("nothing")).toEqual([]);
});

test("labels that begin with the typed text come first, and all commands keep their order if nothing is typed", () => {
  expect(found("job")).toEqual(["Jobs", "Pause this job", "big-job"]);
  expect(found("  ")).toEqual(["Pause this job", "Jobs", "big-job"]);
});

describe("the shown commands", () => {
  const many = (name: string, count: number) => Array.from({ length: count }, (_, at) => command(`${name} ${at}`, name));
  const kinds = (offer: Command[]) => offer.map(({ hint }) => hint);

  test("are limited in number, and the commands of the page come first", () => {
    expect(shownCommands(many("here", 50), many("job", 50))).toHaveLength(MOST_FOUND);
    expect(kinds(shownCommands(many("here", 2), many("job", 50)))).toEqual(["here", "here", ...Array(MOST_FOUND - 2).fill("job")]);
  });

  test("keep some lines for jobs, and leave none empty if no job is found", () => {
    expect(kinds(shownCommands(many("here", 50), many("job", 50))).filter((kind) => kind === "job")).toHaveLength(5);
    expect(kinds(shownCommands(many("here", 50), many("job", 1))).at(-1)).toBe("job");
    expect(kinds(shownCommands(many("here", 50), []))).toEqual(Array(MOST_FOUND).fill("here"));
  });
});

test("a command that ends something for good is never chosen by itself", () => {
  const final = { ...command("Delete this job…", "action"), isFinal: true };
  expect(activeCommand([final, command("Jobs", "page")], null)).toBe(1);
  expect(activeCommand([final], null)).toBe(-1);
  expect(activeCommand([final, command("Jobs", "page")], final.id)).toBe(0);
});
