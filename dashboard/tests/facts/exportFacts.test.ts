import { expect, test } from "vitest";

import { destinationOf } from "@/lib/facts/exportFacts";

test("an address names a hub's repository or the prefix of a bucket", () => {
  expect(destinationOf("hub:org/name", "TOKEN")).toEqual({ type: "hub", repository: "org/name", secret: "TOKEN" });
  expect(destinationOf(" s3://models/a/b", "KEY")).toEqual({ type: "s3", bucket: "models", prefix: "a/b", secret: "KEY" });
  expect(destinationOf("s3://models", "KEY")).toEqual({ type: "s3", bucket: "models", prefix: "", secret: "KEY" });
  for (const other of ["", "hub:", "s3://", "https://example.com"]) expect(destinationOf(other, "KEY")).toBeUndefined();
});
