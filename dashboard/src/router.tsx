import { createRootRoute, createRoute, createRouter, Navigate } from "@tanstack/react-router";

import { parseCompareSearch } from "./lib/compareSearch";
import { parseCurveSearch } from "./lib/curveSearch";
import { parseJobSearch } from "./lib/jobSearch";
import { ComparePage } from "./pages/compare/ComparePage";
import { JobPage } from "./pages/job/JobPage";
import { JobsPage } from "./pages/jobs/JobsPage";
import { NotFound } from "./pages/NotFound";
import { Shell } from "./parts/Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

function ToJobs() {
  return <Navigate to="/jobs" replace />;
}

const home = createRoute({ getParentRoute: () => root, path: "/", component: ToJobs });

// The Shell signs in at any address; this one is where one-time links lead.
const signIn = createRoute({ getParentRoute: () => root, path: "/sign-in", component: ToJobs });

const jobsRoute = createRoute({
  getParentRoute: () => root,
  path: "/jobs",
  validateSearch: parseJobSearch,
  component: JobsPage,
});

const jobRoute = createRoute({
  getParentRoute: () => root,
  path: "/jobs/$jobId",
  validateSearch: parseCurveSearch,
  component: JobPage,
});

const compareRoute = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: parseCompareSearch,
  component: ComparePage,
});

export const router = createRouter({ routeTree: root.addChildren([home, signIn, jobsRoute, jobRoute, compareRoute]) });

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
