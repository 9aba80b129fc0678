/** `npm run dev` sends requests to a running service. TUNERY_BASE_URL names it; the default is http://127.0.0.1:8000. */

import type { Plugin } from "vite";

/** Returns a plugin for the development server. Nothing of it gets into the build. */
export function service(): Plugin {
  return {
    name: "tunery-service",
    apply: "serve",
    config: () => ({
      server: {
        proxy: { "/v1": { target: process.env.TUNERY_BASE_URL ?? "http://127.0.0.1:8000", changeOrigin: false } },
      },
    }),
  };
}
