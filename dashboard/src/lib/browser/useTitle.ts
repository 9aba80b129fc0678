import { useEffect } from "react";

/** The title of the tab, as long as the page is shown. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Tunery`;
    return () => {
      document.title = "Tunery";
    };
  }, [title]);
}
