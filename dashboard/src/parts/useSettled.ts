import { useEffect, useState } from "react";

const TYPING_MS = 300;

/** What it was given once that has stood for a moment: a search begins when nobody types any more. */
export function useSettled<T>(given: T): T {
  const [settled, setSettled] = useState(given);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(given), TYPING_MS);
    return () => clearTimeout(timer);
  }, [given]);
  return settled;
}
