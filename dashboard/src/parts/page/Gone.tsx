import { Link, type LinkProps } from "@tanstack/react-router";

import { Notice } from "./Notice";

/** In the place of something that is not there, or is another project's. */
export function Gone({ what, id, to, all }: { what: string; id: string; to: LinkProps["to"]; all: string }) {
  return (
    <Notice>
      <p>
        There is no {what} <code className="font-mono break-all">{id}</code> in this project: it was deleted, or never
        was here.
      </p>
      <Link to={to} className="link">
        {all}
      </Link>
    </Notice>
  );
}
