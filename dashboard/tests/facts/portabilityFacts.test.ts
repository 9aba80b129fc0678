import { expect, test } from "vitest";

import { askedWords } from "@/lib/facts/portabilityFacts";

test("the words on the prompts name only where some came from", () => {
  const prompts = { count: 20, from_validation_file: 1, from_general_list: 19, new_tokens: 16 };
  expect(askedWords(prompts)).toBe("on 20 prompts: 1 row of the validation file, 19 general ones");
  expect(askedWords({ ...prompts, from_validation_file: 0, from_general_list: 20 })).toBe("on 20 prompts: 20 general ones");
  expect(askedWords({ ...prompts, from_validation_file: 20, from_general_list: 0 })).toBe(
    "on 20 prompts: 20 rows of the validation file",
  );
});
