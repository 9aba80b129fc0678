import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { fileContentPath, fileQuery } from "@/api/details";
import { isNotFound } from "@/api/failures";
import { jobsOfFileQuery } from "@/api/files/files";
import { useMayWrite } from "@/api/project/session";
import type { FileObject } from "@/api/types";
import { checkOf } from "@/lib/facts/fileFacts";
import { bytes, dateTime } from "@/lib/text/format";
import { jobName } from "@/lib/facts/jobFacts";
import { useTitle } from "@/lib/browser/useTitle";
import { Facts, Hash } from "@/parts/page/Facts";
import { Gone } from "@/parts/page/Gone";
import { Icon } from "@/parts/basics/Icon";
import { Failure } from "@/parts/page/Notice";
import { PageHead } from "@/parts/page/DetailHead";
import { Reading } from "@/parts/page/Reading";
import { ReadsOnly } from "@/parts/page/ReadsOnly";
import { Section } from "@/parts/page/Section";
import { StatusMark } from "@/parts/basics/StatusMark";

import { DeleteFile } from "./DeleteFile";
import { Preview } from "./Preview";

const route = getRouteApi("/files/$fileId");

export function FilePage() {
  const { fileId } = route.useParams();
  const { data: file, error, failureReason } = useQuery(fileQuery(fileId));
  if (isNotFound(error)) return <Gone what="file" id={fileId} to="/files" all="All files" />;
  return (
    <>
      {(error ?? failureReason) && <Failure error={error ?? failureReason} />}
      {file ? <Details key={file.id} file={file} /> : !failureReason && <Reading />}
    </>
  );
}

function Details({ file }: { file: FileObject }) {
  useTitle(file.filename);
  return (
    <>
      <Head file={file} />
      <div className="grid items-start gap-4 xl:grid-cols-[2fr_1fr]">
        <Preview file={file} />
        <div className="grid gap-4 max-xl:order-first">
          <Section title="About it">
            <Facts
              facts={[
                ["Check", checkOf(file)],
                ["Purpose", file.purpose],
                ["Size", bytes(file.bytes)],
                ["Created", dateTime(file.created_at)],
                ["Expires", file.expires_at ? dateTime(file.expires_at) : "never"],
                ["Id", <code key="id" className="font-mono text-xs break-all">{file.id}</code>, "wide"],
                ["SHA-256", file.sha256 ? <Hash key="hash">{file.sha256}</Hash> : "not known", "wide"],
              ]}
            />
          </Section>
          <UsedBy file={file} />
        </div>
      </div>
    </>
  );
}

function Head({ file }: { file: FileObject }) {
  const mayWrite = useMayWrite();
  const navigate = useNavigate();
  const [deleting, setDeleting] = useState(false);
  return (
    <PageHead
      to="/files"
      list="Files"
      title={file.filename}
      actions={
        <>
          <a href={fileContentPath(file.id)} download className="button">
            <Icon name="download" />
            Download
          </a>
          {mayWrite && file.purpose === "fine-tune" && (
            <Link to="/new" search={{ training_file: file.id }} className="button button-primary">
              Train on it
            </Link>
          )}
          {mayWrite && (
            <button type="button" className="button button-danger" onClick={() => setDeleting(true)}>
              Delete
            </button>
          )}
        </>
      }
    >
      <ReadsOnly />
      {deleting && (
        <DeleteFile file={file} onDeleted={() => void navigate({ to: "/files" })} onClose={() => setDeleting(false)} />
      )}
    </PageHead>
  );
}

function UsedBy({ file }: { file: FileObject }) {
  const { data, failureReason } = useQuery(jobsOfFileQuery(file.id));
  return (
    <Section title="Jobs that use it">
      {failureReason && !data && <Failure error={failureReason} />}
      {!data && !failureReason && <p className="px-4 pb-4 text-muted">Reading…</p>}
      {data?.data.length === 0 && <p className="px-4 pb-4 text-muted">None.</p>}
      <ul>
        {data?.data.map((job) => (
          <li key={job.id} className="flex items-center gap-3 border-t border-line px-4 py-1.5">
            <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="link min-w-0 flex-1 truncate">
              {jobName(job)}
            </Link>
            <StatusMark status={job.status} />
          </li>
        ))}
      </ul>
      {data?.has_more && <p className="fact border-t border-line px-4 py-1.5">and older ones</p>}
    </Section>
  );
}
