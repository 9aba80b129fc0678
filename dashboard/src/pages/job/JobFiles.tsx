import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { adapterContentPath, adapterQuery, fileContentPath, fileQuery } from "@/api/details";
import type { Job } from "@/api/types";
import { bytes } from "@/lib/text/format";
import { Download } from "@/parts/basics/DownloadLink";
import { Hash } from "@/parts/page/Facts";
import { FileName } from "@/parts/files/FileName";
import { Section } from "@/parts/page/Section";

/** What went in and what came out: each file with its size and hash. */
export function Files({ job }: { job: Job }) {
  return (
    <Section title="Files">
      <ul>
        <File kind="training" id={job.training_file} />
        {job.validation_file && <File kind="validation" id={job.validation_file} />}
        {job.result_files.map((id) => (
          <File key={id} kind="result" id={id} />
        ))}
      </ul>
      {job.adapter_id && <AdapterFiles id={job.adapter_id} />}
    </Section>
  );
}

const ROW = "flex flex-wrap items-center gap-x-3 gap-y-1 border-t border-line px-4 py-1.5";

function File({ kind, id }: { kind: string; id: string }) {
  const { data } = useQuery(fileQuery(id));
  return (
    <li className={ROW}>
      <span className="w-20 text-muted">{kind}</span>
      <Link to="/files/$fileId" params={{ fileId: id }} className="link min-w-0 flex-1 truncate">
        <FileName id={id} />
      </Link>
      <span className="text-muted">{bytes(data?.bytes)}</span>
      {data && <Download href={fileContentPath(id)} name={data.filename} />}
      {data?.sha256 && <Sha256>{data.sha256}</Sha256>}
    </li>
  );
}

function Sha256({ children }: { children: string }) {
  return (
    <p className="w-full">
      <Hash>{`sha256 ${children}`}</Hash>
    </p>
  );
}

function AdapterFiles({ id }: { id: string }) {
  const { data } = useQuery(adapterQuery(id));
  return (
    <>
      <div className={ROW}>
        <span className="w-20 text-muted">adapter</span>
        <Link to="/adapters/$adapterId" params={{ adapterId: id }} className="link min-w-0 flex-1 truncate" title={id}>
          {data?.model ?? id}
        </Link>
        <Download href={adapterContentPath(id)} name="the adapter" />
      </div>
      {data && <p className={`${ROW} fact`}>Base revision {data.base_revision ?? "not known"}</p>}
      <ul>
        {data?.files.map((file) => (
          <li key={file.name} className={ROW}>
            <span className="min-w-0 flex-1 truncate">{file.name}</span>
            <span className="text-muted">{bytes(file.bytes)}</span>
            <Sha256>{file.sha256}</Sha256>
          </li>
        ))}
      </ul>
    </>
  );
}
