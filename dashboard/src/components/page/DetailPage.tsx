import type { LinkProps } from "@tanstack/react-router";
import { Fragment, type ReactNode } from "react";

import { isNotFound } from "@/api/failures";

import { Gone } from "./Gone";
import { Failure } from "./Notice";
import { Reading } from "./Reading";

interface DetailPageProps<Thing> {
  /** The kind of thing that the page is about: `job`, for example. */
  kind: string;
  id: string;
  /** The page that lists all of its kind. */
  list: { to: LinkProps["to"]; name: string };
  query: { data: Thing | undefined; error: unknown; failureReason: unknown };
  /** Shown where the thing was deleted while its page was open. */
  deleted?: (thing: Thing) => ReactNode;
  children: (thing: Thing) => ReactNode;
}

/** A page about one thing: its details, or that it is being read, or why it cannot be shown. */
export function DetailPage<Thing>({ kind, id, list, query, deleted, children }: DetailPageProps<Thing>) {
  const { data: thing, error, failureReason } = query;
  if (isNotFound(error)) {
    return thing !== undefined && deleted ? deleted(thing) : <Gone kind={kind} id={id} list={list} />;
  }
  const failure = error ?? failureReason;
  return (
    <>
      {failure != null && <Failure error={failure} />}
      {thing !== undefined && <Fragment key={id}>{children(thing)}</Fragment>}
      {thing === undefined && failureReason == null && <Reading />}
    </>
  );
}
