import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useId, useMemo, useState } from "react";

import { guideQuery } from "@/api/guide";
import { useTitle } from "@/lib/browser/useTitle";
import { guideHtml } from "@/lib/guide/guideHtml";
import { FIRST_PAGE, type Guide, guideGroups, searchGuide, titleOf } from "@/lib/guide/guidePages";
import { Loaded } from "@/components/page/Loaded";
import { Notice } from "@/components/page/Notice";

const route = getRouteApi("/guide/$");

/** The documentation that belongs to this service: the same text as in its repository, with a search. */
export function GuidePage() {
  return <Loaded query={useQuery(guideQuery)}>{(guide) => <Pages guide={guide} />}</Loaded>;
}

function Pages({ guide }: { guide: Guide }) {
  const path = route.useParams()._splat || FIRST_PAGE;
  const markdown = guide[path];
  useTitle(markdown === undefined ? "Docs" : titleOf(markdown));
  return (
    <div className="mx-auto grid w-full max-w-7xl grid-cols-1 items-start gap-6 lg:grid-cols-[16rem_minmax(0,1fr)]">
      <Contents guide={guide} path={path} />
      {markdown === undefined ? <Notice>There is no page {path}.</Notice> : <Page key={path} guide={guide} path={path} />}
    </div>
  );
}

function Contents({ guide, path }: { guide: Guide; path: string }) {
  const [typed, setTyped] = useState("");
  const hits = useMemo(() => searchGuide(guide, typed), [guide, typed]);
  const [unfoldedAt, setUnfoldedAt] = useState<string | null>(null); // the page on which the reader has unfolded the list
  const isUnfolded = unfoldedAt === path;
  const list = useId();
  return (
    <nav aria-label="Docs" className="card grid gap-3 p-4 lg:sticky lg:top-4 lg:max-h-[calc(100dvh-2rem)] lg:overflow-y-auto">
      <input
        type="search"
        aria-label="Search the docs"
        placeholder="Search the docs"
        className="field w-full"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
      />
      {/* On a phone the text comes first, so the list of pages is folded */}
      {!typed.trim() && (
        <button
          type="button"
          className="button justify-self-start lg:hidden"
          aria-expanded={isUnfolded}
          aria-controls={list}
          onClick={() => setUnfoldedAt(isUnfolded ? null : path)}
        >
          All pages <span aria-hidden="true">{isUnfolded ? "▴" : "▾"}</span>
        </button>
      )}
      {typed.trim() ? (
        <ul aria-label="Pages found" className="grid gap-2">
          {hits.length === 0 && <li className="text-muted">No page has these words.</li>}
          {hits.map((hit) => (
            <li key={hit.path}>
              <PageLink path={hit.path} title={hit.title} isOpen={hit.path === path} />
              <span className="fact block break-words">…{hit.excerpt}…</span>
            </li>
          ))}
        </ul>
      ) : (
        <div id={list} className={`grid gap-3 ${isUnfolded ? "" : "max-lg:hidden"}`}>
          <a href="/docs" className="link">
            The API, operation by operation
          </a>
          {guideGroups(guide).map(({ title, entries }) => (
            <details key={title} open={entries.some((entry) => entry.path === path) || title === "Begin" || title === "How to"}>
              <summary className="cursor-pointer font-semibold">{title}</summary>
              <ul className="mt-1 grid gap-1">
                {entries.map((entry) => (
                  <li key={entry.path}>
                    <PageLink {...entry} isOpen={entry.path === path} />
                  </li>
                ))}
              </ul>
            </details>
          ))}
        </div>
      )}
    </nav>
  );
}

function PageLink({ path, title, isOpen }: { path: string; title: string; isOpen: boolean }) {
  return (
    <Link to="/guide/$" params={{ _splat: path }} className="link" aria-current={isOpen ? "page" : undefined}>
      {title}
    </Link>
  );
}

/** The text of one page. Its links are followed without loading the dashboard again. */
function Page({ guide, path }: { guide: Guide; path: string }) {
  const navigate = useNavigate();
  const html = useMemo(() => guideHtml(guide, path), [guide, path]);
  useEffect(() => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (id) document.getElementById(id)?.scrollIntoView();
    else scrollTo(0, 0);
  }, [path]);
  const follow = (event: React.MouseEvent) => {
    const link = (event.target as Element).closest<HTMLAnchorElement>('a[href^="/guide/"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { pathname, hash } = new URL(link.href);
    void navigate({ to: "/guide/$", params: { _splat: pathname.replace("/guide/", "") }, hash: hash.slice(1) });
  };
  return (
    // The links take the keys.
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-noninteractive-element-interactions
    <article className="card guide min-w-0 p-6" onClick={follow} dangerouslySetInnerHTML={{ __html: html }} />
  );
}
