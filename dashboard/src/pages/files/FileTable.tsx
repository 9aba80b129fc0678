import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { fileContentPath } from "@/api/details";
import type { FileObject } from "@/api/types";
import { checkOf } from "@/lib/facts/fileFacts";
import { bytes } from "@/lib/text/format";
import { Ago } from "@/parts/basics/Ago";
import { Download } from "@/parts/basics/DownloadLink";

import { DeleteFile } from "@/pages/file/DeleteFile";

export function FileTable({ files, mayWrite }: { files: readonly FileObject[]; mayWrite: boolean }) {
  const [deleting, setDeleting] = useState<FileObject | null>(null);
  return (
    <>
      <table className="data-table table-fixed">
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col" className="hidden w-44 lg:table-cell">
              Purpose
            </th>
            <th scope="col" className="hidden w-48 md:table-cell">
              Check
            </th>
            <th scope="col" className="number w-20">
              Size
            </th>
            <th scope="col" className="number hidden w-32 md:table-cell">
              Created
            </th>
            <th scope="col" className="hidden w-56 md:table-cell">
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {files.map((file) => (
            <tr key={file.id} className="hover:bg-sunken">
              <td>
                <Link to="/files/$fileId" params={{ fileId: file.id }} className="link block truncate font-medium">
                  {file.filename}
                </Link>
                <span className="fact block truncate md:hidden">
                  {checkOf(file)} · <Ago unix={file.created_at} />
                </span>
              </td>
              <td className="hidden truncate lg:table-cell">{file.purpose}</td>
              <td className="hidden md:table-cell">{checkOf(file)}</td>
              <td className="number whitespace-nowrap">{bytes(file.bytes)}</td>
              <td className="number hidden whitespace-nowrap md:table-cell">
                <Ago unix={file.created_at} />
              </td>
              <td className="hidden md:table-cell">
                <span className="flex items-center justify-end gap-4">
                  {mayWrite && file.purpose === "fine-tune" && (
                    <Link
                      to="/new"
                      search={{ training_file: file.id }}
                      className="link"
                      aria-label={`Train on ${file.filename}`}
                    >
                      Train
                    </Link>
                  )}
                  <Download href={fileContentPath(file.id)} name={file.filename} />
                  {mayWrite && (
                    <button
                      type="button"
                      className="link text-bad"
                      aria-label={`Delete ${file.filename}`}
                      onClick={() => setDeleting(file)}
                    >
                      Delete
                    </button>
                  )}
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {deleting && <DeleteFile file={deleting} onDeleted={() => setDeleting(null)} onClose={() => setDeleting(null)} />}
    </>
  );
}
