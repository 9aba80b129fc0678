import type { ReactNode } from "react";

import { useTitle } from "@/lib/browser/useTitle";

/** The heading of a page, which is also the title of its tab. `children` stand beside it. */
export function PageTitle({ title, children }: { title: string; children?: ReactNode }) {
  useTitle(title);
  return (
    <div className="flex flex-wrap items-center gap-3">
      <h1>{title}</h1>
      {children}
    </div>
  );
}
