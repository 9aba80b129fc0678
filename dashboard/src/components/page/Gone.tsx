import { Link, type LinkProps } from "@tanstack/react-router";

import { Notice } from "./Notice";

interface GoneProps {
  /** `job`, for example. */
  kind: string;
  id: string;
  /** The page that lists all of its kind. */
  list: { to: LinkProps["to"]; name: string };
}

/** Shown instead of a thing that does not exist or belongs to another project. */
export function Gone({ kind, id, list }: GoneProps) {
  return (
    <Notice>
      <p>
        There is no {kind} <code className="font-mono break-all">{id}</code> in this project. It was deleted, or it never
        existed here.
      </p>
      <Link to={list.to} className="link">
        All {list.name.toLowerCase()}
      </Link>
    </Notice>
  );
}
