import { useFiles } from "@/api/files";
import { useMayWrite } from "@/api/session";
import { useTitle } from "@/lib/title";
import { PagedList } from "@/parts/PagedList";
import { ReadsOnly } from "@/parts/ReadsOnly";

import { FileTable } from "./FileTable";
import { Uploads } from "./Uploads";

export function FilesPage() {
  useTitle("Files");
  const files = useFiles();
  const mayWrite = useMayWrite();
  return (
    <>
      <h1 className="text-lg font-semibold">Files</h1>
      {mayWrite ? <Uploads /> : <ReadsOnly />}
      <div className="card">
        <PagedList list={files} empty="No file yet. Training data are chat rows, pairs of answers or labelled answers.">
          <FileTable files={files.items ?? []} mayWrite={mayWrite} />
        </PagedList>
      </div>
    </>
  );
}
