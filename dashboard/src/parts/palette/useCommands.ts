import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMatch, useNavigate } from "@tanstack/react-router";

import { adapterContentPath } from "@/api/details";
import { actionsOn, actOn, jobQuery } from "@/api/jobs";
import { useMayWrite } from "@/api/session";
import type { Job } from "@/api/types";
import { type Command, matchingCommands } from "@/lib/commands";
import { jobName } from "@/lib/jobFacts";
import { type FinalAction, isFinal } from "@/parts/ConfirmJobAction";
import { useFoundJobs } from "@/parts/finder/useFoundJobs";
import { PAGES } from "@/parts/pages";

const JOB_ID = /^ftjob-\w+$/;
const MOST_FOUND = 12; // that one looks through
const WORDS = { pause: "Pause this job", resume: "Resume this job", cancel: "Cancel this job…", delete: "Delete this job…" };

/** They outlive the palette, which closes once something is chosen. */
export interface JobHandlers {
  onConfirm: (job: Job, action: FinalAction) => void;
  onFailure: (error: unknown) => void;
}

/** What of that which can be done from here is called so: on the present job first, then pages, then jobs. */
export function useCommands(typed: string, handlers: JobHandlers): { found: Command[]; looking: boolean } {
  const present = useMatch({ from: "/jobs/$jobId", shouldThrow: false })?.params.jobId;
  const here = matchingCommands([...useActions(present, handlers), ...usePages()], typed);
  const { jobs, looking } = useJobs(typed);
  return { found: [...here, ...jobs].slice(0, MOST_FOUND), looking };
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
  return [
    ...actions.map((action) => ({
      id: action,
      label: WORDS[action],
      hint: "action",
      run: () => (isFinal(action) ? onConfirm(job, action) : void actOn(client, job.id, action).catch(onFailure)),
    })),
    {
      id: "compare",
      label: "Compare this job",
      hint: "action",
      run: () => void navigate({ to: "/compare", search: { jobs: job.id } }),
    },
    { id: "copy", label: "Copy this job's id", hint: "action", run: () => void navigator.clipboard.writeText(job.id) },
    ...(job.adapter_id === null ? [] : [download(job.adapter_id)]),
  ];
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

/** Jobs with the words that were typed; and the job whose id that is, before the API has found it. */
function useJobs(typed: string): { jobs: Command[]; looking: boolean } {
  const { jobs, looking } = useFoundJobs(typed);
  const navigate = useNavigate();
  const command = (id: string, label: string, hint: string) => ({
    id,
    label,
    hint,
    run: () => void navigate({ to: "/jobs/$jobId", params: { jobId: id } }),
  });
  const id = typed.trim().replace(/^ftsweep-/, "ftjob-");
  if (JOB_ID.test(id)) return { jobs: [command(id, id, "job by its id")], looking: false };
  return { jobs: jobs.map((job) => command(job.id, jobName(job), `${job.status} job · ${job.id}`)), looking };
}
