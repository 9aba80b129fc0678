import { useEffect, useEffectEvent } from "react";

const KEY = "tunery-shortcuts";

/** Returns whether shortcuts of one key are on. They can be switched off, because they disturb speech input. */
export function shortcutsAreOn(): boolean {
  return localStorage.getItem(KEY) !== "off";
}

export function switchShortcuts(on: boolean): void {
  localStorage.setItem(KEY, on ? "on" : "off");
}

/** Calls the action of a key that is pressed alone, unless somebody types or a dialog is open. */
export function useShortcuts(actions: Record<string, () => void>): void {
  const press = useEffectEvent((event: KeyboardEvent) => {
    const action = actions[event.key];
    if (!action || !shortcutsAreOn() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyped(event.target) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    action();
  });
  useEffect(() => {
    const listen = (event: KeyboardEvent) => press(event);
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
}

const TAKES_LETTERS = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select";

function isTyped(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches(TAKES_LETTERS));
}
