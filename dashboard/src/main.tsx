import "./styles.css";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { onSignedOut } from "./api/client";
import { isPassing } from "./api/failures";
import { loseSession } from "./api/project/session";
import { applyTheme } from "./lib/browser/theme";
import { router } from "./router";

const LAST_RETRY_MS = 30_000;

const client = new QueryClient({
  // The service may be on this machine, so a browser that is offline may still reach it. Only a failed request counts.
  defaultOptions: {
    mutations: { networkMode: "always" },
    queries: {
      networkMode: "always",
      retry: (_, error) => isPassing(error),
      retryDelay: (attempt) => Math.min(1000 * 2 ** attempt, LAST_RETRY_MS),
    },
  },
});

// When a key was revoked or has expired, the next answer says so, and the sign-in replaces the page.
onSignedOut((why) => loseSession(client, why));
applyTheme();

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
