import { useEffect, useState } from "react";

const TYPING_MS = 300;

/**
 * What it was given once that has stood for a moment: a search begins when nobody types any more. It is compared by
 * identity, so it must be a text, or an object that is kept from one drawing to the next.
 */
export function useSettled<T>(given: T): T {
  const [settled, setSettled] = useState(given);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(given), TYPING_MS);
    return () => clearTimeout(timer);
  }, [given]);
  return settled;
}
