import { type RefObject, useEffect, useRef, useState } from "react";

const AHEAD = "400px"; // so that what is asked for is there when the reader comes to it

/** Returns a ref, and whether its element has come near the screen once. What stands far below asks for nothing until then. */
export function useSeen<Kind extends HTMLElement>(): [RefObject<Kind | null>, boolean] {
  const element = useRef<Kind>(null);
  const [wasSeen, setWasSeen] = useState(false);
  useEffect(() => {
    if (wasSeen || !element.current) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some(({ isIntersecting }) => isIntersecting)) setWasSeen(true);
      },
      { rootMargin: AHEAD },
    );
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [wasSeen]);
  return [element, wasSeen];
}
