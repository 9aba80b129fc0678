/** What a browser has and jsdom lacks, and the service that the pages ask. */

import { cleanup, configure } from "@testing-library/react";
import { afterAll, afterEach, beforeAll } from "vitest";

import { endUploads } from "@/api/files/uploads";

import { emptyProject, server } from "./service";

const DEADLINE_MS = 30_000;
const ROW_HEIGHT = 44;
const SCREEN = { width: 1500, height: 400 };

configure({ asyncUtilTimeout: DEADLINE_MS, defaultHidden: true }); // without styles nothing is hidden

beforeAll(() => server.listen({ onUnhandledRequest: "error" }));
afterEach(() => {
  cleanup();
  endUploads();
  server.resetHandlers(...emptyProject());
  localStorage.clear();
  sessionStorage.clear();
});
afterAll(() => server.close());

/** Everything is on the screen, and the screen never changes. */
class Observer {
  private readonly notify: (entries: { isIntersecting: boolean; target: Element }[]) => void;

  constructor(notify: (entries: { isIntersecting: boolean; target: Element }[]) => void) {
    this.notify = notify;
  }

  observe(target: Element) {
    this.notify([{ isIntersecting: true, target }]);
  }

  unobserve() {}
  disconnect() {}
}

Object.assign(globalThis, { IntersectionObserver: Observer, ResizeObserver: Observer });
Object.defineProperties(HTMLElement.prototype, {
  offsetHeight: {
    get(this: HTMLElement) {
      return this.closest("thead") ? ROW_HEIGHT : SCREEN.height;
    },
  },
});
Object.defineProperties(Element.prototype, { clientHeight: { get: () => SCREEN.height }, clientWidth: { get: () => SCREEN.width } });
Object.assign(Element.prototype, { scrollIntoView: () => undefined, scrollBy: () => undefined, scrollTo: () => undefined });
Object.assign(globalThis, { scrollTo: () => undefined });

// No style sheet is loaded. jsdom computes styles slowly, and every question for a role asks for many
const style = { display: "block", visibility: "visible", pointerEvents: "auto", color: "rgb(0, 0, 0)", getPropertyValue: () => "" };
Object.assign(globalThis, { getComputedStyle: () => style });
Object.assign(window, { getComputedStyle: () => style });

// jsdom asks each element of the page for the field of a label, and does so for each label of a field
let labels: HTMLLabelElement[] | undefined;
const changes = new MutationObserver(() => (labels = undefined));
changes.observe(document, { childList: true, subtree: true });
const allLabels = () => {
  if (changes.takeRecords().length) labels = undefined;
  return (labels ??= [...document.getElementsByTagName("label")]);
};
const FIELDS = ["button", "input", "meter", "output", "progress", "select", "textarea"];
Object.defineProperty(HTMLLabelElement.prototype, "control", {
  get(this: HTMLLabelElement) {
    if (this.htmlFor) return document.getElementById(this.htmlFor);
    return [...this.getElementsByTagName("*")].find(({ localName }) => FIELDS.includes(localName)) ?? null;
  },
});
for (const name of FIELDS) {
  Object.defineProperty(Object.getPrototypeOf(document.createElement(name)), "labels", {
    get(this: HTMLElement) {
      return allLabels().filter(({ control }) => control === this);
    },
  });
}

// Charts draw nothing here: their pen takes every stroke and returns nothing
const pen: object = new Proxy(() => undefined, { get: (_, name) => (name === "canvas" ? undefined : pen), apply: () => pen, set: () => true });
Object.assign(HTMLCanvasElement.prototype, { getContext: () => pen });
Object.assign(globalThis, {
  Path2D: function () {
    return pen;
  },
});

globalThis.CSS ??= { escape: (text: string) => text } as typeof CSS;
globalThis.matchMedia ??= (media) => Object.assign(new EventTarget(), { media, matches: false }) as MediaQueryList;

HTMLDialogElement.prototype.showModal ??= function (this: HTMLDialogElement) {
  this.open = true;
};
HTMLDialogElement.prototype.close ??= function (this: HTMLDialogElement) {
  if (!this.open) return;
  this.open = false;
  this.dispatchEvent(new Event("close"));
};
