import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test } from "vitest";

import { readAgain } from "@/api/readAgain";

test("a change during the first read of a list is in the list", async () => {
  const client = new QueryClient();
  let stored = ["old"];
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let isFirst = true;
  const queryFn = async () => {
    const read = stored;
    if (isFirst) {
      isFirst = false;
      await held;
    }
    return read;
  };
  const observer = new QueryObserver(client, { queryKey: ["list"], queryFn });
  const stop = observer.subscribe(() => {});
  stored = ["old", "new"];
  const reading = readAgain(client, ["list"]);
  release();
  await reading;
  expect(client.getQueryData(["list"])).toEqual(["old", "new"]);
  stop();
  client.clear();
});
