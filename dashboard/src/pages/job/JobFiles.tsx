import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { fileContentPath, fileQuery } from "@/api/files/files";
import { adapterContentPath, adapterQuery } from "@/api/project/adapters";
import { useSeen } from "@/lib/browser/useSeen";
import { FileLine } from "@/components/files/FileLine";
import { FileName } from "@/components/files/FileName";
import { Section } from "@/components/page/Section";
import type { Job } from "@/types/api";

/** The files that the job reads and the files that it made, each with its size and hash. */
export function JobFiles({ job }: { job: Job }) {
  const [box, isSeen] = useSeen<HTMLDivElement>();
  return (
    <Section title="Files">
      <div ref={box} className="min-h-40">
        {isSeen && <FileList job={job} />}
      </div>
    </Section>
  );
}

function FileList({ job }: { job: Job }) {
  return (
    <ul>
      <File kind="training" id={job.training_file} />
      {job.prepared && <File kind="prepared" note={rowsInWords(job.prepared)} id={job.prepared.training_file} />}
      {job.validation_file && <File kind="validation" id={job.validation_file} />}
      {job.result_files.map((id) => (
        <File key={id} kind="result" id={id} />
      ))}
      {job.adapter_id && <AdapterFiles id={job.adapter_id} />}
    </ul>
  );
}

function rowsInWords({ training_rows, augmented_rows }: NonNullable<Job["prepared"]>): string {
  return `${training_rows} rows to train on${augmented_rows ? `, ${augmented_rows} of them variants` : ""}`;
}

function File({ kind, id, note }: { kind: string; id: string; note?: string }) {
  const { data } = useQuery(fileQuery(id));
  return (
    <FileLine
      kind={kind}
      size={data?.bytes}
      sha256={data?.sha256}
      download={data && { href: fileContentPath(id), name: data.filename }}
    >
      <Link to="/files/$fileId" params={{ fileId: id }} className="link">
        <FileName id={id} />
      </Link>
      {note && <span className="text-muted">, {note}</span>}
    </FileLine>
  );
}

function AdapterFiles({ id }: { id: string }) {
  const { data } = useQuery(adapterQuery(id));
  return (
    <>
      <FileLine kind="adapter" download={{ href: adapterContentPath(id), name: "the adapter" }}>
        <Link to="/adapters/$adapterId" params={{ adapterId: id }} className="link" title={id}>
          {data?.model ?? id}
        </Link>
      </FileLine>
      {data && (
        <li className="fact border-t border-line px-4 py-1.5">Base revision {data.base_revision ?? "not known"}</li>
      )}
      {data?.files.map((file) => (
        <FileLine key={file.name} size={file.bytes} sha256={file.sha256}>
          {file.name}
        </FileLine>
      ))}
    </>
  );
}
