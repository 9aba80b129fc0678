import { useQuery } from "@tanstack/react-query";

import { cardQuery } from "@/api/project/adapters";
import type { Adapter } from "@/api/types";
import { snippetsOf } from "@/lib/facts/adapterFacts";
import { CopyBlock } from "@/parts/basics/CopyBlock";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";

/** As its model card says, which the worker wrote for this method. */
export function LoadIt({ adapter }: { adapter: Adapter }) {
  const { data: card, failureReason } = useQuery(cardQuery(adapter));
  const snippets = snippetsOf(card ?? "");
  return (
    <Section title="Load it">
      <div className="grid min-w-0 gap-3 px-4 pb-4">
        {failureReason && card === undefined && <Failure error={failureReason} />}
        {card === undefined && !failureReason && <p className="text-muted">Reading…</p>}
        {card !== undefined && !snippets.length && <p className="text-muted">Its model card does not say how.</p>}
        {snippets.map(({ label, code }) => (
          <CopyBlock key={label} label={label} code={code} />
        ))}
        {snippets.length > 0 && (
          <p className="fact">
            <code className="font-mono">path/to/this/folder</code> is where you unpacked the download.
          </p>
        )}
      </div>
    </Section>
  );
}
