import { Link, type LinkProps } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";

import { useMayWrite } from "@/api/project/session";
import { Icon } from "@/components/basics/Icon";

interface DetailHeadProps {
  /** The page that lists all of its kind. */
  list: { to: LinkProps["to"]; name: string };
  title: string;
  /** Shown after the title. */
  mark?: ReactNode;
  download?: { href: string; label: string; isPrimary?: boolean } | undefined;
  /** Links and buttons that only a key with the right to write gets. */
  actions?: ReactNode;
  /** The dialog that asks before the thing is deleted. With it, the head has a button that opens it. */
  deletion?: (onClose: () => void) => ReactNode;
  /** Shown below the title. */
  children?: ReactNode;
}

/** The head of a page about one thing: the way back to the list, the name, and what can be done with it. */
export function DetailHead({ list, title, mark, download, actions, deletion, children }: DetailHeadProps) {
  const mayWrite = useMayWrite();
  const [isDeleting, setDeleting] = useState(false);
  return (
    <header className="grid gap-3">
      <nav aria-label="Way back">
        <Link to={list.to} className="link">
          {list.name}
        </Link>
      </nav>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <h1 className="break-words">{title}</h1>
        {mark}
        <div className="ml-auto flex flex-wrap gap-2">
          {download && (
            <a href={download.href} download className={`button ${download.isPrimary ? "button-primary" : ""}`}>
              <Icon name="download" />
              {download.label}
            </a>
          )}
          {mayWrite && actions}
          {mayWrite && deletion && (
            <button type="button" className="button button-danger" onClick={() => setDeleting(true)}>
              Delete
            </button>
          )}
        </div>
      </div>
      {children}
      {isDeleting && deletion?.(() => setDeleting(false))}
    </header>
  );
}
