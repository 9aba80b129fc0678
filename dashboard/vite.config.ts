import { fileURLToPath } from "node:url";

import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

import { service } from "./dev/service.ts";

export default defineConfig({
  plugins: [react(), tailwindcss(), service()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  // The content security policy knows no `data:` fonts or scripts: every asset is a file.
  // One style sheet: of an older build that is gone, only scripts are missed, and the router reloads for those.
  build: { target: "es2023", assetsInlineLimit: 0, cssCodeSplit: false, modulePreload: { polyfill: false } },
  test: { include: ["tests/**/*.test.ts"] },
});
