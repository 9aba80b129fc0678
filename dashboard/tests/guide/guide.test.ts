import { expect, test } from "vitest";

import { guideHtml, slugOf } from "@/lib/guide/guideHtml";
import { FIRST_PAGE, guideGroups, linkedPage, searchGuide } from "@/lib/guide/guidePages";

const guide = {
  engine: "# The engine\n\nIt computes. See [chats](how-to/chat.md#a-door).",
  "how-to/chat": "# How to chat\n\nAsk the engine by the door to vLLM.",
};

test("pages stand in the group of their folder", () => {
  const groups = guideGroups(guide).filter(({ entries }) => entries.length);
  expect(groups.map(({ title, entries }) => [title, ...entries.map((one) => one.title)])).toEqual([
    ["How to", "How to chat"],
    ["Subjects", "The engine"],
  ]);
});

test("a newcomer begins with the first steps, and finds the way from OpenAI under How to", () => {
  const pages = { ...guide, "migrate-from-openai": "# Coming from OpenAI", [FIRST_PAGE]: "# First steps" };
  expect(guideGroups(pages).slice(0, 2)).toEqual([
    { title: "Begin", entries: [{ path: "first-steps", title: "First steps" }] },
    {
      title: "How to",
      entries: [
        { path: "migrate-from-openai", title: "Coming from OpenAI" },
        { path: "how-to/chat", title: "How to chat" },
      ],
    },
  ]);
  expect(guideGroups(pages).flatMap(({ entries }) => entries)).toHaveLength(4);
});

test("a search finds the pages with every word, titles first", () => {
  expect(searchGuide(guide, "engine").map(({ path }) => path)).toEqual(["engine", "how-to/chat"]);
  expect(searchGuide(guide, "vllm door")[0]?.excerpt).toContain("by the door to vLLM");
  expect(searchGuide(guide, "engine nothing")).toEqual([]);
  expect(searchGuide(guide, "  ")).toEqual([]);
});

test("links between pages stay in the guide, and others lead out of it", () => {
  expect(linkedPage(guide, "how-to/chat", "../engine.md")).toEqual({ path: "engine", hash: "" });
  expect(linkedPage(guide, "engine", "https://example.com/a.md")).toBeNull();
  expect(linkedPage(guide, "engine", "../bench/LOG.md")).toBeNull();
  expect(linkedPage(guide, "how-to/chat", "../../bench/LOG.md")).toBeNull();
  expect(guideHtml(guide, "engine")).toContain('href="/guide/how-to/chat#a-door"');
});

test("a page has ids for its headings, and no HTML of its own", () => {
  const html = guideHtml({ x: "## It is `fast`!\n\n<picture><img src=a></picture>\n\n![words](a.png)" }, "x");
  expect(html).toContain('<h2 id="it-is-fast">');
  expect(html).not.toContain("<img");
  expect(slugOf("LoRA & co: 2 ways")).toBe("lora--co-2-ways");
});
