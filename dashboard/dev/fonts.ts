/** The page asks for its font at once, because a font that comes after the layout is not used. */

import type { Plugin } from "vite";

const FIRST = /source-sans-3-latin-wght.*\.woff2$/;

/** Returns a plugin that adds the preload of the text's font to the page. */
export function fonts(): Plugin {
  return {
    name: "tunery-fonts",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler: (_, { bundle = {} }) =>
        Object.keys(bundle)
          .filter((name) => FIRST.test(name))
          .map((name) => ({
            tag: "link",
            attrs: { rel: "preload", as: "font", type: "font/woff2", href: `/${name}`, crossorigin: true },
            injectTo: "head-prepend" as const,
          })),
    },
  };
}
