import { useQuery } from "@tanstack/react-query";

import { workersQuery } from "@/api/project/workers";
import { useTitle } from "@/lib/browser/useTitle";
import { Failure, Notice } from "@/parts/page/Notice";
import { Reading } from "@/parts/page/Reading";

import { QueueCard } from "./QueueCard";
import { WorkerCard } from "./WorkerCard";

export function WorkersPage() {
  useTitle("Workers");
  const { data, failureReason } = useQuery(workersQuery);
  return (
    <>
      <h1 className="text-lg font-semibold">Workers</h1>
      {failureReason ? <Failure error={failureReason} /> : !data && <Reading />}
      {data?.data.length === 0 && (
        <Notice tone="warn">
          <p>No worker is there, so nothing trains. What is queued waits for one.</p>
          <p className="text-muted">
            <code className="font-mono">tunery worker</code> starts one; it shows here within seconds.
          </p>
        </Notice>
      )}
      <div className="grid items-start gap-4 xl:grid-cols-[2fr_1fr]">
        <div className="grid gap-4">
          {data?.data.map((worker) => (
            <WorkerCard key={worker.id} worker={worker} />
          ))}
        </div>
        <div className="grid gap-4">
          {data?.queues.map((queue) => (
            <QueueCard
              key={queue.devices}
              queue={queue}
              served={data.data.some((worker) => worker.devices === queue.devices)}
            />
          ))}
        </div>
      </div>
    </>
  );
}
