import { useSyncExternalStore } from "react";

/** Functions that are called when something happens. */
export class Listeners<Given extends unknown[] = []> {
  private readonly all = new Set<(...given: Given) => void>();

  /** Adds a listener. Returns a function that removes it. */
  add = (listener: (...given: Given) => void): (() => void) => {
    this.all.add(listener);
    return () => this.all.delete(listener);
  };

  call(...given: Given): void {
    for (const listener of this.all) listener(...given);
  }
}

/** An object outside of React that changes often. Components that use it are rendered at most once in `everyMs`. */
export class Changing {
  /** Grows with each change that the components get to see. */
  version = 0;
  private readonly listeners = new Listeners();
  private readonly everyMs: number;
  private notifying: ReturnType<typeof setTimeout> | null = null;
  private notifiedAt = -Infinity;

  constructor(everyMs: number) {
    this.everyMs = everyMs;
  }

  subscribe = this.listeners.add;

  getVersion = (): number => this.version;

  /** Has the components rendered again soon. The first change after a rest does not wait. */
  protected notify(): void {
    const wait = Math.max(0, this.notifiedAt + this.everyMs - performance.now());
    this.notifying ??= setTimeout(() => {
      this.notifying = null;
      this.notifiedAt = performance.now();
      this.version += 1;
      this.listeners.call();
    }, wait);
  }
}

/** Renders the component again when the object has changed. Returns the object's version. */
export function useVersion(of: Changing): number {
  return useSyncExternalStore(of.subscribe, of.getVersion);
}
