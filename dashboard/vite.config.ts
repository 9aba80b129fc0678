import { fileURLToPath } from "node:url";

import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

import { apiReference } from "./dev/apiReference.ts";
import { fonts } from "./dev/fonts.ts";
import { guide } from "./dev/guide.ts";
import { precompress } from "./dev/precompress.ts";
import { service } from "./dev/service.ts";

export default defineConfig({
  plugins: [react(), tailwindcss(), service(), apiReference(), fonts(), guide(), precompress()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  // The content security policy allows no `data:` fonts or scripts, so every asset is a file. There is one style sheet,
  // so that after an upgrade only scripts can be missing, and the router loads the page again for them.
  // What several pages share is one file, since a first visit of a page would ask for a dozen small ones.
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "shared", test: /[\\/]src[\\/]/, minShareCount: 3 }] } } },
  },
  // Most tests only compute, so a test file needs no process and no modules of its own. Those of pages take a browser's
  // document, which is made of JavaScript, and leave it empty.
  test: {
    pool: "threads",
    isolate: false,
    projects: [
      { extends: true, test: { name: "computations", include: ["tests/**/*.test.ts"] } },
      {
        extends: true,
        test: {
          name: "pages",
          include: ["tests/pages/**/*.test.tsx"],
          environment: "jsdom",
          setupFiles: ["tests/service/setup.ts"],
          testTimeout: 300_000, // a deadline: what a page shows is waited for
        },
      },
    ],
  },
});
