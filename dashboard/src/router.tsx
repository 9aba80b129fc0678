import { createRootRoute, createRoute, createRouter, Navigate } from "@tanstack/react-router";

import { parseCompareSearch } from "./lib/compareSearch";
import { parseCurveSearch } from "./lib/curveSearch";
import { parseJobSearch } from "./lib/jobSearch";
import { parseNewJobSearch } from "./lib/newJobSearch";
import { parseSettingsSearch } from "./lib/settingsSearch";
import { AdapterPage } from "./pages/adapter/AdapterPage";
import { AdaptersPage } from "./pages/adapters/AdaptersPage";
import { ComparePage } from "./pages/compare/ComparePage";
import { FilePage } from "./pages/file/FilePage";
import { FilesPage } from "./pages/files/FilesPage";
import { JobPage } from "./pages/job/JobPage";
import { JobsPage } from "./pages/jobs/JobsPage";
import { NewJobPage } from "./pages/new/NewJobPage";
import { NotFound } from "./pages/NotFound";
import { SettingsPage } from "./pages/settings/SettingsPage";
import { WorkersPage } from "./pages/workers/WorkersPage";
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

const newJobRoute = createRoute({
  getParentRoute: () => root,
  path: "/new",
  validateSearch: parseNewJobSearch,
  component: NewJobPage,
});

const compareRoute = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: parseCompareSearch,
  component: ComparePage,
});

const filesRoute = createRoute({ getParentRoute: () => root, path: "/files", component: FilesPage });
const fileRoute = createRoute({ getParentRoute: () => root, path: "/files/$fileId", component: FilePage });
const adaptersRoute = createRoute({ getParentRoute: () => root, path: "/adapters", component: AdaptersPage });
const adapterRoute = createRoute({ getParentRoute: () => root, path: "/adapters/$adapterId", component: AdapterPage });
const workersRoute = createRoute({ getParentRoute: () => root, path: "/workers", component: WorkersPage });

const settingsRoute = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  validateSearch: parseSettingsSearch,
  component: SettingsPage,
});

export const router = createRouter({
  routeTree: root.addChildren([
    home,
    signIn,
    jobsRoute,
    jobRoute,
    newJobRoute,
    compareRoute,
    filesRoute,
    fileRoute,
    adaptersRoute,
    adapterRoute,
    workersRoute,
    settingsRoute,
  ]),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
