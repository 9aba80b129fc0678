/** The theme: light, dark, or the system's choice. */

import { Listeners } from "./changing";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "tunery-theme";
const listeners = new Listeners();
const system = matchMedia("(prefers-color-scheme: dark)");

export function getTheme(): Theme {
  const stored = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === stored) ?? "system";
}

export function setTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme();
}

export function applyTheme(): void {
  const theme = getTheme();
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  listeners.call();
}

/** Returns whether the page is dark now. */
export function isDark(): boolean {
  const theme = getTheme();
  return theme === "system" ? system.matches : theme === "dark";
}

/** Calls `listener` when the switch or the system changes the theme. Returns a function that removes the listener. */
export function onThemeChange(listener: () => void): () => void {
  const remove = listeners.add(listener);
  system.addEventListener("change", listener);
  return () => {
    remove();
    system.removeEventListener("change", listener);
  };
}
