import { useEffect, useState } from "react";

const TYPING_MS = 300;

/**
 * Returns the last value that has not changed for a moment, so that a search begins only after the typing has stopped.
 * Values are compared by identity: an object must be the same from one render to the next.
 */
export function useSettled<T>(given: T): T {
  const [settled, setSettled] = useState(given);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(given), TYPING_MS);
    return () => clearTimeout(timer);
  }, [given]);
  return settled;
}
