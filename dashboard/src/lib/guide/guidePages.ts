/** The pages of the guide: their titles, their groups, and the pages that a search finds. */

/** The Markdown of each page, by its path, such as `how-to/chat`. */
export type Guide = Readonly<Record<string, string>>;

export interface GuideEntry {
  path: string;
  title: string;
}

export interface GuideGroup {
  title: string;
  entries: GuideEntry[];
}

export const FIRST_PAGE = "first-steps";
const GROUPS: readonly (readonly [title: string, folder: string, pages?: readonly string[]])[] = [
  ["Begin", "begin/", [FIRST_PAGE]],
  ["How to", "how-to/", ["migrate-from-openai"]],
  ["Operate", "operate/"],
  ["Subjects", ""],
  ["Reference", "reference/"],
  ["Decisions", "decisions/"],
];

export function titleOf(markdown: string): string {
  return (/^# (.+)$/m.exec(markdown)?.[1] ?? "").replaceAll("`", "");
}

/** Returns all pages in groups: first those that the group names, and then those of its folder. */
export function guideGroups(guide: Guide): GuideGroup[] {
  const named = GROUPS.flatMap(([, , pages]) => pages ?? []);
  const others = Object.keys(guide).filter((path) => !named.includes(path));
  const entryOf = (path: string) => ({ path, title: titleOf(guide[path] ?? "") || path });
  return GROUPS.map(([title, folder, pages = []]) => {
    const paths = [...pages.filter((path) => path in guide), ...others.filter((path) => folderOf(path) === folder)];
    return { title, entries: paths.map(entryOf) };
  });
}

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);

export interface GuideHit extends GuideEntry {
  /** The words around the first place that matches. */
  excerpt: string;
}

const AROUND = 60; // characters before and after the words that were found
const MOST_HITS = 20;

/** Returns the pages that hold every word, those with the words in their title first. */
export function searchGuide(guide: Guide, typed: string): GuideHit[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const [first] = words;
  if (first === undefined) return [];
  const found = Object.entries(guide).flatMap(([path, markdown]) => {
    const text = markdown.toLowerCase();
    if (!words.every((word) => text.includes(word))) return [];
    const title = titleOf(markdown) || path;
    const inTitle = words.every((word) => title.toLowerCase().includes(word));
    return [{ path, title, excerpt: excerptOf(markdown, text.indexOf(first, title.length)), inTitle }];
  });
  found.sort((one, other) => Number(other.inTitle) - Number(one.inTitle));
  return found.slice(0, MOST_HITS).map(({ path, title, excerpt }) => ({ path, title, excerpt }));
}

function excerptOf(markdown: string, at: number): string {
  if (at < 0) return "";
  return markdown.slice(Math.max(0, at - AROUND), at + AROUND).replace(/\s+/g, " ").trim();
}

/** Returns the path of the page to which a link of another page leads; null if it leads to nothing in the guide. */
export function linkedPage(guide: Guide, from: string, href: string): { path: string; hash: string } | null {
  if (/^[a-z]+:/.test(href)) return null;
  const { pathname, hash } = new URL(href, `http://guide/${from}`);
  if (href.startsWith("#")) return { path: from, hash };
  const path = pathname.slice(1).replace(/\.md$/, "");
  return pathname.endsWith(".md") && path in guide ? { path, hash } : null;
}
