import { useEffect } from "react";

/** Sets the title of the tab while the component is shown. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Tunery`;
    return () => {
      document.title = "Tunery";
    };
  }, [title]);
}
