import { Link } from "@tanstack/react-router";

import { othersWaiting } from "@/lib/facts/workerFacts";
import { counted } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { Section } from "@/components/page/Section";
import type { Queue } from "@/types/api";

/** The jobs that wait for workers of one class. For other projects it shows only the number of their jobs. */
export function QueueCard({ queue, isServed }: { queue: Queue; isServed: boolean }) {
  const hidden = queue.own_waiting_jobs - queue.jobs.length;
  const others = othersWaiting(queue);
  return (
    <Section
      title={`Queue, ${counted(queue.devices, "device")}`}
      tools={
        <span className="text-muted">
          {queue.waiting_jobs ? `${counted(queue.waiting_jobs, "job")} waiting` : "empty"}
        </span>
      }
    >
      {!isServed && queue.waiting_jobs > 0 && (
        <p className="px-4 pb-3 text-warn">No worker of this class is running.</p>
      )}
      <ol>
        {queue.jobs.map((job) => (
          <li key={job.id} className="flex items-center gap-3 border-t border-line px-4 py-1.5">
            <span className="number w-8 text-muted">{job.queue_position ?? "new"}</span>
            <span className="min-w-0 flex-1">
              <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="link block truncate">
                {job.user_provided_suffix ?? job.id}
              </Link>
              <span className="fact block truncate">{job.model}</span>
            </span>
            <span className="fact whitespace-nowrap">
              <Ago unix={job.created_at} />
            </span>
          </li>
        ))}
      </ol>
      {hidden > 0 && (
        <p className="border-t border-line px-4 py-1.5">
          <Link to="/jobs" search={{ status: "queued" }} className="link">
            {counted(hidden, "job")} more of yours
          </Link>
        </p>
      )}
      {others > 0 && (
        <p className="border-t border-line px-4 py-1.5 text-muted">{counted(others, "job")} of other projects</p>
      )}
    </Section>
  );
}
