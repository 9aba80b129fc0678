import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Navigate } from "@tanstack/react-router";

import { parseCompareSearch } from "./lib/addresses/compareSearch";
import { parseComposeSearch } from "./lib/addresses/composeSearch";
import { parseCurveSearch } from "./lib/addresses/curveSearch";
import { parseEvalSearch } from "./lib/addresses/evalSearch";
import { parseJobSearch } from "./lib/addresses/jobSearch";
import { parseNewJobSearch } from "./lib/addresses/newJobSearch";
import { parsePlaygroundSearch } from "./lib/addresses/playgroundSearch";
import { parseSettingsSearch } from "./lib/addresses/settingsSearch";
import { Broken } from "./pages/Broken";
import { JobsPage } from "./pages/jobs/JobsPage";
import { NotFound } from "./pages/NotFound";
import { Shell } from "./shell/Shell";

// The first page is the list of jobs. The code of the other pages is loaded when they are opened. If it is gone after an
// upgrade, the router loads the whole dashboard again.
const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

function ToJobs() {
  return <Navigate to="/jobs" replace />;
}

const home = createRoute({ getParentRoute: () => root, path: "/", component: ToJobs });

// The shell signs in at any address. One-time links lead to this address.
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
  component: lazyRouteComponent(() => import("./pages/job/JobPage"), "JobPage"),
});

const newJobRoute = createRoute({
  getParentRoute: () => root,
  path: "/new",
  validateSearch: parseNewJobSearch,
  component: lazyRouteComponent(() => import("./pages/new/NewJobPage"), "NewJobPage"),
});

const compareRoute = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: parseCompareSearch,
  component: lazyRouteComponent(() => import("./pages/compare/ComparePage"), "ComparePage"),
});

const playgroundRoute = createRoute({
  getParentRoute: () => root,
  path: "/playground",
  validateSearch: parsePlaygroundSearch,
  component: lazyRouteComponent(() => import("./pages/playground/PlaygroundPage"), "PlaygroundPage"),
});

const filesRoute = createRoute({
  getParentRoute: () => root,
  path: "/files",
  component: lazyRouteComponent(() => import("./pages/files/FilesPage"), "FilesPage"),
});

const fileRoute = createRoute({
  getParentRoute: () => root,
  path: "/files/$fileId",
  component: lazyRouteComponent(() => import("./pages/file/FilePage"), "FilePage"),
});

const adaptersRoute = createRoute({
  getParentRoute: () => root,
  path: "/adapters",
  component: lazyRouteComponent(() => import("./pages/adapters/AdaptersPage"), "AdaptersPage"),
});

const adapterRoute = createRoute({
  getParentRoute: () => root,
  path: "/adapters/$adapterId",
  component: lazyRouteComponent(() => import("./pages/adapter/AdapterPage"), "AdapterPage"),
});

const composeRoute = createRoute({
  getParentRoute: () => root,
  path: "/compose",
  validateSearch: parseComposeSearch,
  component: lazyRouteComponent(() => import("./pages/compose/ComposePage"), "ComposePage"),
});

const evalsRoute = createRoute({
  getParentRoute: () => root,
  path: "/evals",
  component: lazyRouteComponent(() => import("./pages/evals/EvalsPage"), "EvalsPage"),
});

const evalRoute = createRoute({
  getParentRoute: () => root,
  path: "/evals/$evalId",
  validateSearch: parseEvalSearch,
  component: lazyRouteComponent(() => import("./pages/eval/EvalPage"), "EvalPage"),
});

const workersRoute = createRoute({
  getParentRoute: () => root,
  path: "/workers",
  component: lazyRouteComponent(() => import("./pages/workers/WorkersPage"), "WorkersPage"),
});

const settingsRoute = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  validateSearch: parseSettingsSearch,
  component: lazyRouteComponent(() => import("./pages/settings/SettingsPage"), "SettingsPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    home,
    signIn,
    jobsRoute,
    jobRoute,
    newJobRoute,
    compareRoute,
    playgroundRoute,
    filesRoute,
    fileRoute,
    adaptersRoute,
    adapterRoute,
    composeRoute,
    evalsRoute,
    evalRoute,
    workersRoute,
    settingsRoute,
  ]),
  defaultPreload: "intent",
  defaultErrorComponent: Broken,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
