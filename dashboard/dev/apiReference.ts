/** The page /docs shows the API's document with Swagger UI. The page is in `public/docs`. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import type { Plugin } from "vite";

const FILES = ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt"];

/** Returns a plugin that copies Swagger UI's files, as they are, beside the page. */
export function apiReference(): Plugin {
  const { resolve } = createRequire(import.meta.url);
  return {
    name: "tunery-api-reference",
    apply: "build",
    generateBundle() {
      for (const name of FILES) {
        const source = readFileSync(resolve(`swagger-ui-dist/${name}`));
        this.emitFile({ type: "asset", fileName: `docs/${name}`, source });
      }
    },
  };
}
