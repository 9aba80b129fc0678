import { useFiles } from "@/api/files/files";
import { useMayWrite } from "@/api/project/session";
import { PageTitle } from "@/components/page/PageTitle";
import { ReadsOnly } from "@/components/page/ReadsOnly";
import { PagedList } from "@/components/tables/PagedList";

import { FileTable } from "./FileTable";
import { Uploads } from "./Uploads";

export function FilesPage() {
  const files = useFiles();
  const mayWrite = useMayWrite();
  return (
    <>
      <PageTitle title="Files" />
      {mayWrite ? <Uploads /> : <ReadsOnly />}
      <div className="card">
        <PagedList list={files} empty="No file yet. Training data are chat rows, pairs of answers, labelled answers or prompts.">
          {(items) => <FileTable files={items} mayWrite={mayWrite} />}
        </PagedList>
      </div>
    </>
  );
}
