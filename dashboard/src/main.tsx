import "./styles.css";

import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { onSignedOut } from "./api/client";
import { loseSession } from "./api/project/session";
import { applyTheme } from "./lib/browser/theme";
import { newQueryClient } from "./queryClient";
import { router } from "./router";

const client = newQueryClient();

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
