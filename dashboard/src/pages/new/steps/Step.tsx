import { type ReactNode, useId } from "react";

interface StepProps {
  number: number;
  title: string;
  children: ReactNode;
}

export function Step({ number, title, children }: StepProps) {
  const heading = useId();
  return (
    <section aria-labelledby={heading} className="card grid min-w-0 grid-cols-1 gap-5 p-4 sm:p-5">
      <h2 id={heading} className="flex items-center gap-2">
        <span
          aria-hidden="true"
          className="grid size-6 place-items-center rounded-full bg-tint text-xs font-semibold text-accent"
        >
          {number}
        </span>
        {title}
      </h2>
      {children}
    </section>
  );
}
