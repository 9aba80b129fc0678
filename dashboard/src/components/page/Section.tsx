import { type ReactNode, useId } from "react";

interface SectionProps {
  title: string;
  /** The part of an address that leads here. */
  id?: string;
  /** Shown beside the title. */
  tools?: ReactNode;
  children: ReactNode;
}

/** A card with a heading. */
export function Section({ title, id, tools, children }: SectionProps) {
  const heading = useId();
  return (
    <section id={id} aria-labelledby={heading} className="card min-w-0 overflow-hidden">
      <div className="flex flex-wrap items-center justify-between gap-2 px-4 py-2.5">
        <h2 id={heading}>{title}</h2>
        {tools}
      </div>
      {children}
    </section>
  );
}
