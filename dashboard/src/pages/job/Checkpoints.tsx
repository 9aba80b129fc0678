import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { checkpointContentPath, checkpointsQuery } from "@/api/jobs/checkpoints";
import { measureOf, samplesAnswers } from "@/lib/facts/jobFacts";
import { integer, significant } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { DownloadLink } from "@/components/basics/DownloadLink";
import { Icon } from "@/components/basics/Icon";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { Checkpoint, Job } from "@/types/api";

export function Checkpoints({ job }: { job: Job }) {
  const query = useQuery(checkpointsQuery(job.id));
  return (
    <Section title="Checkpoints">
      <Loaded query={query}>
        {(checkpoints) =>
          checkpoints.length ? (
            <CheckpointTable job={job} checkpoints={checkpoints} />
          ) : (
            <p className="px-4 pb-4 text-muted">
              The first checkpoint is saved at {samplesAnswers(job) ? "the first validation after a step" : "the end of an epoch"}.
            </p>
          )
        }
      </Loaded>
    </Section>
  );
}

function CheckpointTable({ job, checkpoints }: { job: Job; checkpoints: readonly Checkpoint[] }) {
  const measure = measureOf(checkpoints);
  return (
    <>
      <DataTable
        columns={columnsOf(job, measure)}
        rows={checkpoints}
        keyOf={({ id }) => id}
        rowClasses={(checkpoint) => (checkpoint.best ? "bg-tint" : "")}
        region={{ label: "Checkpoints, table", className: "max-h-72 overflow-auto", stickyHead: true }}
      />
      <p className="fact border-t border-line px-4 py-1.5">
        {samplesAnswers(job)
          ? "The checkpoints of the three best validations are kept."
          : "The checkpoints of the last three epochs and the best checkpoint are kept."}
      </p>
    </>
  );
}

function columnsOf(job: Job, { name, title }: ReturnType<typeof measureOf>): Column<Checkpoint>[] {
  return [
    { name: "Step", cell: (checkpoint) => <Step checkpoint={checkpoint} isBest={checkpoint.best} /> },
    {
      name: title,
      align: "right",
      cell: ({ metrics }) => significant(metrics[name] as number | null),
    },
    { name: "Training loss", align: "right", cell: ({ metrics }) => significant(metrics.train_loss as number | null) },
    {
      name: "Saved",
      align: "right",
      className: "whitespace-nowrap",
      cell: ({ created_at }) => <Ago unix={created_at} />,
    },
    {
      name: "Playground",
      hiddenHead: true,
      align: "right",
      cell: ({ step_number, fine_tuned_model_checkpoint }) => (
        <Link
          to="/playground"
          search={{ models: `${job.model},${fine_tuned_model_checkpoint}`, job: job.id }}
          className="link whitespace-nowrap"
          aria-label={`Try the checkpoint of step ${integer(step_number)}`}
        >
          Try it
        </Link>
      ),
    },
    {
      name: "Weights",
      hiddenHead: true,
      align: "right",
      cell: (checkpoint) => (
        <DownloadLink
          href={checkpointContentPath(checkpoint)}
          name={`the weights at step ${integer(checkpoint.step_number)}`}
        />
      ),
    },
  ];
}

function Step({ checkpoint, isBest }: { checkpoint: Checkpoint; isBest: boolean }) {
  return (
    <span className="inline-flex items-center gap-2" title={checkpoint.fine_tuned_model_checkpoint}>
      {integer(checkpoint.step_number)}
      {isBest && (
        <span className="inline-flex items-center gap-1 text-accent">
          <Icon name="best" />
          best
        </span>
      )}
    </span>
  );
}
