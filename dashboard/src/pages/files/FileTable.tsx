import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { fileContentPath } from "@/api/files/files";
import { checkOf, idTail, sharedNames } from "@/lib/facts/fileFacts";
import { bytes } from "@/lib/text/format";
import { DeleteFile } from "@/pages/file/DeleteFile";
import { Ago } from "@/components/basics/Ago";
import { DownloadLink } from "@/components/basics/DownloadLink";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { FileObject } from "@/types/api";

export function FileTable({ files, mayWrite }: { files: readonly FileObject[]; mayWrite: boolean }) {
  const [deleting, setDeleting] = useState<FileObject | null>(null);
  const shared = sharedNames(files);
  const actions: Column<FileObject> = {
    name: "Actions",
    hiddenHead: true,
    shownFrom: "md",
    width: "w-68",
    cell: (file) => <Actions file={file} mayWrite={mayWrite} onDelete={() => setDeleting(file)} />,
  };
  return (
    <>
      <DataTable
        fixed
        columns={[nameColumn(shared), ...COLUMNS, actions]}
        rows={files}
        keyOf={({ id }) => id}
        rowClasses={() => "hover:bg-sunken"}
      />
      {deleting && <DeleteFile file={deleting} onDeleted={() => setDeleting(null)} onClose={() => setDeleting(null)} />}
    </>
  );
}

/** The name. Files that share their name also show the end of their id. */
const nameColumn = (shared: ReadonlySet<string>): Column<FileObject> => ({
  name: "Name",
  cell: ({ id, filename }) => (
    <Link to="/files/$fileId" params={{ fileId: id }} className="link block truncate font-medium" title={id}>
      {filename}
      {shared.has(filename) && <span className="font-normal text-muted"> {idTail(id)}</span>}
    </Link>
  ),
  below: (file) => (
    <>
      {checkOf(file)} · <Ago unix={file.created_at} />
    </>
  ),
});

const COLUMNS: readonly Column<FileObject>[] = [
  { name: "Purpose", shownFrom: "xl", width: "w-44", className: "truncate", cell: ({ purpose }) => purpose },
  { name: "Check", shownFrom: "md", width: "w-48", cell: checkOf },
  {
    name: "Size",
    align: "right",
    width: "w-20",
    className: "whitespace-nowrap",
    cell: (file) => bytes(file.bytes),
  },
  {
    name: "Created",
    align: "right",
    shownFrom: "md",
    width: "w-32",
    className: "whitespace-nowrap",
    cell: ({ created_at }) => <Ago unix={created_at} />,
  },
];

interface ActionsProps {
  file: FileObject;
  mayWrite: boolean;
  onDelete: () => void;
}

function Actions({ file, mayWrite, onDelete }: ActionsProps) {
  return (
    <span className="flex items-center justify-end gap-4">
      {mayWrite && file.purpose === "fine-tune" && (
        <Link to="/new" search={{ training_file: file.id }} className="link" aria-label={`Train on ${file.filename}`}>
          Train
        </Link>
      )}
      <DownloadLink href={fileContentPath(file.id)} name={file.filename} />
      {mayWrite && (
        <button type="button" className="link text-bad" aria-label={`Delete ${file.filename}`} onClick={onDelete}>
          Delete
        </button>
      )}
    </span>
  );
}
