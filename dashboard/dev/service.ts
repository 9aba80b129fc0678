/** `npm run dev` in front of a running service: TUNERY_URL names it, http://127.0.0.1:8000 by default. */

import type { Plugin } from "vite";

/** Of the development server alone: nothing of this gets into the build. */
export function service(): Plugin {
  return {
    name: "tunery-service",
    apply: "serve",
    config: () => ({
      server: {
        proxy: { "/v1": { target: process.env.TUNERY_URL ?? "http://127.0.0.1:8000", changeOrigin: false } },
      },
    }),
  };
}
