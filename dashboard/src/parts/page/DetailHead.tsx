import { Link, type LinkProps } from "@tanstack/react-router";
import type { ReactNode } from "react";

interface PageHeadProps {
  to: LinkProps["to"];
  /** The name of the list that leads here. */
  list: string;
  title: string;
  /** After the title. */
  mark?: ReactNode;
  actions: ReactNode;
  children?: ReactNode;
}

/** Of a page about one thing: the way back to all of them, its name, and what can be done with it. */
export function PageHead({ to, list, title, mark, actions, children }: PageHeadProps) {
  return (
    <header className="grid gap-3">
      <nav aria-label="Way back">
        <Link to={to} className="link">
          {list}
        </Link>
      </nav>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <h1 className="text-lg font-semibold break-all">{title}</h1>
        {mark}
        <div className="ml-auto flex flex-wrap gap-2">{actions}</div>
      </div>
      {children}
    </header>
  );
}
