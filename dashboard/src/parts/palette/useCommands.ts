import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMatch, useNavigate } from "@tanstack/react-router";

import { adapterContentPath } from "@/api/details";
import { actionsOn, actOn, jobListQuery, jobQuery } from "@/api/jobs";
import { useMayWrite } from "@/api/session";
import type { Job } from "@/api/types";
import type { Command } from "@/lib/commands";
import { jobName } from "@/lib/jobFacts";
import { type FinalAction, isFinal } from "@/parts/ConfirmJobAction";
import { PAGES } from "@/parts/pages";

const JOB_ID = /^ft(job|sweep)-\w+$/;
const WORDS = { pause: "Pause this job", resume: "Resume this job", cancel: "Cancel this job…", delete: "Delete this job…" };

/** They outlive the palette, which closes once something is chosen. */
export interface JobHandlers {
  onConfirm: (job: Job, action: FinalAction) => void;
  onFailure: (error: unknown) => void;
}

/** What can be done from here: on the present job first, then pages, then jobs. `typed` may be a job's id. */
export function useCommands(typed: string, handlers: JobHandlers): Command[] {
  const present = useMatch({ from: "/jobs/$jobId", shouldThrow: false })?.params.jobId;
  return [...useActions(present, handlers), ...usePages(), ...useJobs(typed)];
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

function useJobs(typed: string): Command[] {
  const { data } = useQuery(jobListQuery(useQueryClient()));
  const navigate = useNavigate();
  const open = (jobId: string) => void navigate({ to: "/jobs/$jobId", params: { jobId } });
  const known = (data?.jobs ?? []).map((job) => ({
    id: job.id,
    label: jobName(job),
    hint: `${job.status} job · ${job.id}`,
    run: () => open(job.id),
  }));
  const id = typed.trim().replace(/^ftsweep-/, "ftjob-");
  if (!JOB_ID.test(id) || known.some((command) => command.id === id)) return known;
  return [...known, { id, label: id, hint: `job by its id · ${typed}`, run: () => open(id) }];
}
