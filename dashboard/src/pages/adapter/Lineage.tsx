import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { manifestQuery } from "@/api/project/adapters";
import { type Manifest, totalBytes } from "@/lib/facts/adapterFacts";
import { adapterName } from "@/lib/facts/jobFacts";
import { bytes, counted, dateTime, integer, significant } from "@/lib/text/format";
import { FileName } from "@/components/files/FileName";
import { Facts, Hash } from "@/components/page/Facts";
import { Failure } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { Adapter } from "@/types/api";

/** The job, base model and files that the adapter was made from, with the hashes in its manifest. */
export function Lineage({ adapter }: { adapter: Adapter }) {
  const { data: manifest, failureReason } = useQuery(manifestQuery(adapter));
  const missing = manifest !== undefined ? "not known" : failureReason ? "could not be read" : "Reading…";
  const { steps, train_loss, full_valid_loss } = adapter.training as Record<string, number | null | undefined>;
  return (
    <Section title="Lineage">
      {failureReason && manifest === undefined && (
        <div className="px-4 pb-3">
          <Failure error={failureReason} />
        </div>
      )}
      <Facts
        facts={[
          ["Method", adapter.kind === "model" ? `${adapter.type}, a whole model` : adapterName(adapter.type)],
          ["Steps", integer(steps)],
          ["Training loss", significant(train_loss)],
          ["Validation loss", significant(full_valid_loss)],
          ["Size", bytes(totalBytes(adapter))],
          ["Created", dateTime(adapter.created_at)],
          ["Job", <JobLink key="job" adapter={adapter} />, "wide"],
          ["Base model", <BaseModel key="base" adapter={adapter} manifest={manifest ?? null} />, "wide"],
          ["Training file", <DataFile key="training" data={manifest?.dataset?.training_file} missing={missing} />, "wide"],
          ["Validation file", <DataFile key="validation" data={manifest?.dataset?.validation_file} missing={missing} />, "wide"],
        ]}
      />
    </Section>
  );
}

function JobLink({ adapter: { job_id, job_deleted, imported, composed } }: { adapter: Adapter }) {
  if (composed) return <span>none: composed by {composed.method}</span>;
  if (job_id === null) {
    return (
      <>
        <span className="block">none: imported from {imported?.filename}</span>
        {imported && <Hash>{`sha256 ${imported.sha256}`}</Hash>}
      </>
    );
  }
  if (job_deleted) return <span className="font-mono text-xs break-all text-muted">{job_id} (deleted)</span>;
  return (
    <Link to="/jobs/$jobId" params={{ jobId: job_id }} className="link font-mono text-xs break-all">
      {job_id}
    </Link>
  );
}

function BaseModel({ adapter, manifest }: { adapter: Adapter; manifest: Manifest | null }): ReactNode {
  return (
    <>
      <span className="block">{manifest?.base_model ?? adapter.base_model}</span>
      <span className="fact block break-all">revision {adapter.base_revision ?? "not known"}</span>
      {manifest?.base_sha256 && <Hash>{`sha256 ${manifest.base_sha256}`}</Hash>}
    </>
  );
}

type Data = NonNullable<Manifest["dataset"]>["training_file"] | undefined;

function DataFile({ data, missing }: { data: Data; missing: string }): ReactNode {
  if (!data) return <span className="text-muted">{data === null ? "none" : missing}</span>;
  return (
    <>
      <Link to="/files/$fileId" params={{ fileId: data.id }} className="link block truncate">
        <FileName id={data.id} />
      </Link>
      {data.rows != null && <span className="fact block">{counted(data.rows, "row")}</span>}
      <Hash>{`sha256 ${data.sha256}`}</Hash>
    </>
  );
}
