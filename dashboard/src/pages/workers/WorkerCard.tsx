import { Link } from "@tanstack/react-router";

import { memoryPercent, workerName } from "@/lib/facts/workerFacts";
import { bytes, counted, integer } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { ProgressBar } from "@/components/basics/ProgressBar";
import { Facts } from "@/components/page/Facts";
import { Section } from "@/components/page/Section";
import type { Worker } from "@/types/api";

export function WorkerCard({ worker }: { worker: Worker }) {
  const { device, jobs, other_jobs } = worker;
  const count = jobs.length + other_jobs;
  const name = workerName(worker);
  return (
    <Section title={name} tools={<span className="text-muted">{count ? `holds ${counted(count, "job")}` : "idle"}</span>}>
      <Facts
        facts={[
          ["Device", device.name, "wide"],
          ["Memory", <Memory key="memory" worker={worker} />, "wide"],
          ["Base model", worker.base_model ?? "none loaded yet"],
          ["Class", counted(worker.devices, "device")],
          ["Release", worker.release],
          ["Started", <Ago key="since" unix={worker.started_at} />],
        ]}
      />
      {count > 0 && (
        <>
          <h3 className="border-t border-line px-4 py-2 font-medium">Trains now</h3>
          <ul>
            {jobs.map((job) => (
              <HeldJob key={job.id} job={job} />
            ))}
            {other_jobs > 0 && (
              <li className="border-t border-line px-4 py-1.5 text-muted">{counted(other_jobs, "job")} of other projects</li>
            )}
          </ul>
        </>
      )}
    </Section>
  );
}

function Memory({ worker }: { worker: Worker }) {
  const { memory_used_bytes, memory_bytes, type } = worker.device;
  return (
    <span className="mt-1 grid max-w-120 gap-1">
      <ProgressBar percent={memoryPercent(worker)} label={`Memory in use on ${workerName(worker)}`} />
      <span className="fact">
        {bytes(memory_used_bytes)} of {bytes(memory_bytes)} in use
        {type === "cpu" && ", by the whole machine"}
        {type !== "cpu" && worker.devices > 1 && ", on the first device"}
      </span>
    </span>
  );
}

function HeldJob({ job }: { job: Worker["jobs"][number] }) {
  const { id, user_provided_suffix, step, total_steps, phase } = job;
  const name = user_provided_suffix ?? id;
  return (
    <li className="grid gap-1 border-t border-line px-4 py-2">
      <div className="flex items-center gap-3">
        <Link to="/jobs/$jobId" params={{ jobId: id }} className="link min-w-0 flex-1 truncate">
          {name}
        </Link>
        <span className="text-muted">{phase}</span>
        <span className="whitespace-nowrap">
          {integer(step)} / {integer(total_steps)}
        </span>
      </div>
      {total_steps ? <ProgressBar percent={(100 * step) / total_steps} label={`Progress of ${name}`} /> : null}
    </li>
  );
}
