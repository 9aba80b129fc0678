/** The Markdown of a page as HTML. The pages are ours, and come with the build. */

import { Marked } from "marked";

import { type Guide, linkedPage } from "./guidePages";

/** Returns a heading's name in an address, as GitHub makes it. */
export function slugOf(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").trim().replaceAll(" ", "-");
}

/** Returns the HTML of a page. Links to other pages stay in the guide; pictures and comments are left out. */
export function guideHtml(guide: Guide, path: string): string {
  const marked = new Marked({
    renderer: {
      html: () => "",
      image: ({ text }) => text,
      heading({ depth, tokens, text }) {
        return `<h${depth} id="${slugOf(text)}">${this.parser.parseInline(tokens)}</h${depth}>`;
      },
      link({ href, tokens }) {
        const words = this.parser.parseInline(tokens);
        const page = linkedPage(guide, path, href);
        if (page) return `<a class="link" href="/guide/${page.path}${page.hash}">${words}</a>`;
        if (!/^https?:/.test(href)) return words;
        return `<a class="link" href="${href}" target="_blank" rel="noreferrer">${words}</a>`;
      },
    },
  });
  // The keyboard must reach what scrolls
  return marked.parse(guide[path] ?? "", { async: false }).replace(/<(pre|table)>/g, '<$1 tabindex="0">');
}
