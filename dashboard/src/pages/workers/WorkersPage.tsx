import { useQuery } from "@tanstack/react-query";

import { workersQuery } from "@/api/project/workers";
import { Failure, Notice } from "@/components/page/Notice";
import { PageTitle } from "@/components/page/PageTitle";
import { Reading } from "@/components/page/Reading";

import { QueueCard } from "./QueueCard";
import { WorkerCard } from "./WorkerCard";

export function WorkersPage() {

  const { data, failureReason } = useQuery(workersQuery);
  return (
    <>
      <PageTitle title="Workers" />
      {failureReason ? <Failure error={failureReason} /> : !data && <Reading />}
      {data?.data.length === 0 && (
        <Notice tone="warn">
          <p>No worker is running, so nothing trains. Queued jobs wait for a worker.</p>
          <p className="text-muted">
            <code className="font-mono">tunery worker</code> starts a worker. It appears here within seconds.
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
              isServed={data.data.some((worker) => worker.devices === queue.devices)}
            />
          ))}
        </div>
      </div>
    </>
  );
}
