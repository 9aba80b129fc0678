import { useFiles } from "@/api/files/files";
import { useMayWrite } from "@/api/project/session";
import { useTitle } from "@/lib/browser/useTitle";
import { PagedList } from "@/parts/tables/PagedList";
import { ReadsOnly } from "@/parts/page/ReadsOnly";

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
