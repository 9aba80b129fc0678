/** `npm run dev` sends requests to a running service, which TUNERY_BASE_URL names as it does for the command line. */

import type { Plugin } from "vite";

const target = (process.env.TUNERY_BASE_URL ?? "http://127.0.0.1:8000/v1").replace(/\/v1\/?$/, "");

/** Returns a plugin for the development server. Nothing of it gets into the build. */
export function service(): Plugin {
  return {
    name: "tunery-service",
    apply: "serve",
    config: () => ({
      server: {
        proxy: { "/v1": { target, changeOrigin: false } },
      },
    }),
  };
}
