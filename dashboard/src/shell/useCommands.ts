import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMatch, useNavigate } from "@tanstack/react-router";

import { actionsOn, actOn, jobQuery } from "@/api/jobs/jobs";
import { adapterContentPath } from "@/api/project/adapters";
import { useMayWrite } from "@/api/project/session";
import { copyText } from "@/lib/browser/clipboard";
import { setTheme, THEMES } from "@/lib/browser/theme";
import { jobName } from "@/lib/facts/jobFacts";
import { type FinalAction, isFinal } from "@/components/dialogs/ConfirmJobAction";
import { type Command, matchingCommands, shownCommands } from "@/components/finder/commands";
import { useFoundJobs } from "@/components/finder/useFoundJobs";
import type { Job } from "@/types/api";

import { PAGES } from "./navigation";

const JOB_ID = /^ftjob-\w+$/;
const LABELS = { pause: "Pause this job", resume: "Resume this job", cancel: "Cancel this job…", delete: "Delete this job…" };

/** Handlers outside of the palette, because the palette closes when a command is chosen. */
export interface JobHandlers {
  onConfirm: (job: Job, action: FinalAction) => void;
  onFailure: (error: unknown) => void;
}

interface Found {
  found: Command[];
  isLooking: boolean;
  failure: Error | null;
}

/** Returns the commands that match the typed text: actions on the job of this page, then pages, then jobs. */
export function useCommands(typed: string, handlers: JobHandlers): Found {
  const present = useMatch({ from: "/jobs/$jobId", shouldThrow: false })?.params.jobId;
  const here = matchingCommands([...useActions(present, handlers), ...usePages(), ...themes()], typed);
  const jobs = useJobs(typed);
  return { ...jobs, found: shownCommands(here, jobs.found) };
}

function usePages(): Command[] {
  const navigate = useNavigate();
  return PAGES.map(([to, label]) => ({ id: to, label, hint: "page", run: () => void navigate({ to }) }));
}

function useActions(id: string | undefined, { onConfirm, onFailure }: JobHandlers): Command[] {
  const { data: job } = useQuery({ ...jobQuery(id ?? ""), enabled: id !== undefined });
  const mayWrite = useMayWrite();
  const navigate = useNavigate();
  const client = useQueryClient();
  if (!job) return [];
  const actions = mayWrite ? actionsOn(job) : [];
  const clone = {
    id: "clone",
    label: "Clone this job",
    hint: "action",
    run: () => void navigate({ to: "/new", search: { from: job.id } }),
  };
  return [
    ...(mayWrite ? [clone] : []),
    ...actions.map((action) => ({
      id: action,
      label: LABELS[action],
      hint: "action",
      isFinal: isFinal(action),
      run: () => (isFinal(action) ? onConfirm(job, action) : void actOn(client, job.id, action).catch(onFailure)),
    })),
    {
      id: "compare",
      label: "Compare this job",
      hint: "action",
      run: () => void navigate({ to: "/compare", search: { jobs: job.id } }),
    },
    {
      id: "copy",
      label: "Copy this job's id",
      hint: "action",
      run: () => void copyText(job.id).then((copied) => copied || onFailure(new Error(notCopied(job.id)))),
    },
    ...(job.adapter_id === null ? [] : [download(job.adapter_id)]),
  ];
}

function themes(): Command[] {
  return THEMES.map((theme) => ({ id: `theme-${theme}`, label: `Theme: ${theme}`, hint: "theme", run: () => setTheme(theme) }));
}

function notCopied(id: string): string {
  return `The browser allows copying only under HTTPS and on this machine. The id is ${id}.`;
}

function download(adapterId: string): Command {
  const run = () => {
    const link = document.createElement("a");
    link.href = adapterContentPath(adapterId);
    link.download = "";
    link.click();
  };
  return { id: "download", label: "Download this job's adapter", hint: "action", run };
}

/** Returns the jobs with the typed words. A typed id gives a command at once, without asking the API. */
function useJobs(typed: string): Found {
  const { jobs, ...state } = useFoundJobs(typed);
  const navigate = useNavigate();
  const command = (id: string, label: string, hint: string) => ({
    id,
    label,
    hint,
    run: () => void navigate({ to: "/jobs/$jobId", params: { jobId: id } }),
  });
  const id = typed.trim().replace(/^ftsweep-/, "ftjob-");
  if (JOB_ID.test(id)) return { found: [command(id, id, "job by its id")], isLooking: false, failure: null };
  return { ...state, found: jobs.map((job) => command(job.id, jobName(job), `${job.status} job · ${job.id}`)) };
}
