import type { ReactNode } from "react";

import { bytes } from "@/lib/text/format";
import { DownloadLink } from "@/components/basics/DownloadLink";
import { Hash } from "@/components/page/Facts";

interface FileLineProps {
  /** The use of the file, if the list holds files for several uses. */
  kind?: string;
  /** The name, often as a link. */
  children: ReactNode;
  /** Undefined while the size is not known. */
  size?: number | undefined;
  sha256?: string | null | undefined;
  /** The address of the content, and how a screen reader names the file. */
  download?: { href: string; name: string } | undefined;
}

/** A line of a list of files: kind, name, size and download, and below them the hash. */
export function FileLine({ kind, children, size, sha256, download }: FileLineProps) {
  return (
    <li className="flex flex-wrap items-center gap-x-3 gap-y-1 border-t border-line px-4 py-1.5">
      {kind && <span className="w-20 text-muted">{kind}</span>}
      <span className="min-w-0 flex-1 truncate">{children}</span>
      {size !== undefined && <span className="whitespace-nowrap text-muted">{bytes(size)}</span>}
      {download && <DownloadLink {...download} />}
      {sha256 && (
        <p className="w-full">
          <Hash>{`sha256 ${sha256}`}</Hash>
        </p>
      )}
    </li>
  );
}
