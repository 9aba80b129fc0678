import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";

import { fileContentPath, fileQuery, jobsOfFileQuery } from "@/api/files/files";
import { useTitle } from "@/lib/browser/useTitle";
import { checkOf, isDataset } from "@/lib/facts/fileFacts";
import { jobName } from "@/lib/facts/jobFacts";
import { bytes, dateTime } from "@/lib/text/format";
import { StatusMark } from "@/components/basics/StatusMark";
import { DetailHead } from "@/components/page/DetailHead";
import { DetailPage } from "@/components/page/DetailPage";
import { Facts, Hash } from "@/components/page/Facts";
import { Loaded } from "@/components/page/Loaded";
import { ReadsOnly } from "@/components/page/ReadsOnly";
import { Section } from "@/components/page/Section";
import type { FileObject } from "@/types/api";

import { Check } from "./Check";
import { DeleteFile } from "./DeleteFile";
import { Masks } from "./Masks";
import { Preview } from "./Preview";

const route = getRouteApi("/files/$fileId");
const LIST = { to: "/files", name: "Files" } as const;

export function FilePage() {
  const { fileId } = route.useParams();
  return (
    <DetailPage kind="file" id={fileId} list={LIST} query={useQuery(fileQuery(fileId))}>
      {(file) => <Details file={file} />}
    </DetailPage>
  );
}

function Details({ file }: { file: FileObject }) {
  useTitle(file.filename);
  const navigate = useNavigate();
  return (
    <>
      <DetailHead
        list={LIST}
        title={file.filename}
        download={{ href: fileContentPath(file.id), label: "Download" }}
        actions={
          file.purpose === "fine-tune" && (
            <Link to="/new" search={{ training_file: file.id }} className="button button-primary">
              Train on it
            </Link>
          )
        }
        deletion={(onClose) => (
          <DeleteFile file={file} onDeleted={() => void navigate({ to: "/files" })} onClose={onClose} />
        )}
      >
        <ReadsOnly />
      </DetailHead>
      <div className="grid items-start gap-4 xl:grid-cols-[2fr_1fr]">
        <div className="grid min-w-0 gap-4">
          {isDataset(file) && <Check file={file} />}
          {isDataset(file) && <Masks file={file} />}
          <Preview file={file} />
        </div>
        <div className="grid gap-4 max-xl:order-first">
          <Section title="About this file">
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
          <JobsOfFile file={file} />
        </div>
      </div>
    </>
  );
}

function JobsOfFile({ file }: { file: FileObject }) {
  return (
    <Section title="Jobs that use it">
      <Loaded query={useQuery(jobsOfFileQuery(file.id))}>
        {({ data: jobs, has_more }) => (
          <>
            {jobs.length === 0 && <p className="px-4 pb-4 text-muted">None.</p>}
            <ul>
              {jobs.map((job) => (
                <li key={job.id} className="flex items-center gap-3 border-t border-line px-4 py-1.5">
                  <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="link min-w-0 flex-1 truncate">
                    {jobName(job)}
                  </Link>
                  <StatusMark status={job.status} />
                </li>
              ))}
            </ul>
            {has_more && <p className="fact border-t border-line px-4 py-1.5">and older jobs</p>}
          </>
        )}
      </Loaded>
    </Section>
  );
}
