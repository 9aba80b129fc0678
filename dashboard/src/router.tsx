import { createRootRoute, createRoute, createRouter, Navigate, type RouterHistory } from "@tanstack/react-router";

import { parseCompareSearch } from "./lib/addresses/compareSearch";
import { parseComposeSearch } from "./lib/addresses/composeSearch";
import { parseCurveSearch } from "./lib/addresses/curveSearch";
import { parseEvalSearch } from "./lib/addresses/evalSearch";
import { parseFileSearch } from "./lib/addresses/fileSearch";
import { parseJobSearch } from "./lib/addresses/jobSearch";
import { parseNewJobSearch } from "./lib/addresses/newJobSearch";
import { parsePlaygroundSearch } from "./lib/addresses/playgroundSearch";
import { parseSettingsSearch } from "./lib/addresses/settingsSearch";
import { lazyPage } from "./lazyPage";
import { FIRST_PAGE } from "./lib/guide/guidePages";
import { Broken } from "./pages/Broken";
import { JobsPage } from "./pages/jobs/JobsPage";
import { NotFound } from "./pages/NotFound";
import { Shell } from "./shell/Shell";
import { SignedInAlready } from "./shell/SignedInAlready";

// The first page is the list of jobs. The code of the other pages is loaded when they are opened.
const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

function ToJobs() {
  return <Navigate to="/jobs" replace />;
}

const home = createRoute({ getParentRoute: () => root, path: "/", component: ToJobs });

// The shell signs in at any address. One-time links lead to this address, and so does a sign-on that has failed.
const signIn = createRoute({ getParentRoute: () => root, path: "/sign-in", component: SignedInAlready });

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
  component: lazyPage(() => import("./pages/job/JobPage"), "JobPage"),
});

const newJobRoute = createRoute({
  getParentRoute: () => root,
  path: "/new",
  validateSearch: parseNewJobSearch,
  component: lazyPage(() => import("./pages/new/NewJobPage"), "NewJobPage"),
});

// Somebody guesses this address. Without the route, `new` would be taken for the id of a job.
const newAmongJobsRoute = createRoute({
  getParentRoute: () => root,
  path: "/jobs/new",
  validateSearch: parseNewJobSearch,
  component: ToNewJob,
});

function ToNewJob() {
  return <Navigate to="/new" search={newAmongJobsRoute.useSearch()} replace />;
}

const compareRoute = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: parseCompareSearch,
  component: lazyPage(() => import("./pages/compare/ComparePage"), "ComparePage"),
});

const playgroundRoute = createRoute({
  getParentRoute: () => root,
  path: "/playground",
  validateSearch: parsePlaygroundSearch,
  component: lazyPage(() => import("./pages/playground/PlaygroundPage"), "PlaygroundPage"),
});

const filesRoute = createRoute({
  getParentRoute: () => root,
  path: "/files",
  component: lazyPage(() => import("./pages/files/FilesPage"), "FilesPage"),
});

const fileRoute = createRoute({
  getParentRoute: () => root,
  path: "/files/$fileId",
  validateSearch: parseFileSearch,
  component: lazyPage(() => import("./pages/file/FilePage"), "FilePage"),
});

const adaptersRoute = createRoute({
  getParentRoute: () => root,
  path: "/adapters",
  component: lazyPage(() => import("./pages/adapters/AdaptersPage"), "AdaptersPage"),
});

const adapterRoute = createRoute({
  getParentRoute: () => root,
  path: "/adapters/$adapterId",
  component: lazyPage(() => import("./pages/adapter/AdapterPage"), "AdapterPage"),
});

const composeRoute = createRoute({
  getParentRoute: () => root,
  path: "/compose",
  validateSearch: parseComposeSearch,
  component: lazyPage(() => import("./pages/compose/ComposePage"), "ComposePage"),
});

const evalsRoute = createRoute({
  getParentRoute: () => root,
  path: "/evals",
  component: lazyPage(() => import("./pages/evals/EvalsPage"), "EvalsPage"),
});

const evalRoute = createRoute({
  getParentRoute: () => root,
  path: "/evals/$evalId",
  validateSearch: parseEvalSearch,
  component: lazyPage(() => import("./pages/eval/EvalPage"), "EvalPage"),
});

function ToFirstPage() {
  return <Navigate to="/guide/$" params={{ _splat: FIRST_PAGE }} replace />;
}

const guideHome = createRoute({ getParentRoute: () => root, path: "/guide", component: ToFirstPage });

const guideRoute = createRoute({
  getParentRoute: () => root,
  path: "/guide/$",
  component: lazyPage(() => import("./pages/guide/GuidePage"), "GuidePage"),
});

const workersRoute = createRoute({
  getParentRoute: () => root,
  path: "/workers",
  component: lazyPage(() => import("./pages/workers/WorkersPage"), "WorkersPage"),
});

const settingsRoute = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  validateSearch: parseSettingsSearch,
  component: lazyPage(() => import("./pages/settings/SettingsPage"), "SettingsPage"),
});

const routeTree = root.addChildren([
  home,
  signIn,
  jobsRoute,
  jobRoute,
  newJobRoute,
  newAmongJobsRoute,
  compareRoute,
  playgroundRoute,
  filesRoute,
  fileRoute,
  adaptersRoute,
  adapterRoute,
  composeRoute,
  evalsRoute,
  evalRoute,
  guideHome,
  guideRoute,
  workersRoute,
  settingsRoute,
]);

/** The pages at their addresses. The history is the browser's unless another one is given. */
export function newRouter(history?: RouterHistory) {
  return createRouter({ routeTree, defaultPreload: "intent", defaultErrorComponent: Broken, ...(history && { history }) });
}

export const router = newRouter();

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
