/** The pages of `docs/`, which the dashboard shows under /guide, as one file of the build. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Plugin } from "vite";

const DOCS = fileURLToPath(new URL("../../docs", import.meta.url));

/** Returns a plugin that writes all pages, by their path, to `guide/pages.json`. */
export function guide(): Plugin {
  return {
    name: "tunery-guide",
    apply: "build",
    generateBundle() {
      const names = readdirSync(DOCS, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".md"));
      const pages = names.sort().map((name) => [name.replace(/\.md$/, ""), readFileSync(join(DOCS, name), "utf8")]);
      this.emitFile({ type: "asset", fileName: "guide/pages.json", source: JSON.stringify(Object.fromEntries(pages)) });
    },
  };
}
