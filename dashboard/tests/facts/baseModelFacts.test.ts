import { expect, test } from "vitest";

import { fitsInShort, obstacle, precisionsOf } from "@/lib/facts/baseModelFacts";
import type { BaseModelCheck, DeviceFit } from "@/types/api";

const fit = (device: string, precisions: DeviceFit["precisions"]): DeviceFit => ({
  device,
  precisions,
  memory_bytes: 24e9,
  here: false,
});

test("only precisions with an answer have a column", () => {
  expect(precisionsOf([fit("L4", { nf4: "fits" })])).toEqual([["nf4", "nf4"]]);
});

test("the devices on which a job fits are counted, also those where it is slower", () => {
  const small = fit("L4", { none: "does not fit", nf4: "fits, slower" });
  const large = fit("H200", { none: "fits", nf4: "fits" });
  expect(fitsInShort([small, large])).toBe("Of these 2 devices, a job fits as published on 1, nf4 on 2.");
});

test("an architecture without a memory model says so", () => {
  expect(fitsInShort([])).toContain("not known where");
});

test("what keeps a model from being added is named", () => {
  const check = { trainable: false, checks: [{ name: "weights", state: "fail" }, { name: "licence", state: "warn" }] };
  expect(obstacle(check as BaseModelCheck)).toBe("Jobs cannot train this model: weights.");
  expect(obstacle({ ...check, trainable: true } as BaseModelCheck)).toBeNull();
});
