import { useSyncExternalStore } from "react";

// One timer serves all components that show a time.
const TICK_MS = 10_000;
const listeners = new Set<() => void>();
let now = Math.floor(Date.now() / 1000);
let timer: ReturnType<typeof setInterval> | null = null;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(tick, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size || timer === null) return;
    clearInterval(timer);
    timer = null;
  };
}

function tick(): void {
  if (document.hidden) return;
  now = Math.floor(Date.now() / 1000);
  for (const listener of listeners) listener();
}

/** Returns the time in unix seconds. It is updated every ten seconds. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
