import { useQuery } from "@tanstack/react-query";

import { cardQuery } from "@/api/project/adapters";
import type { Adapter } from "@/api/types";
import { snippetsOf } from "@/lib/facts/adapterFacts";
import { CopyBlock } from "@/parts/basics/CopyBlock";
import { Loaded } from "@/parts/page/Loaded";
import { Section } from "@/parts/page/Section";

/** The code that loads the adapter. It comes from the model card, which the worker wrote for this method. */
export function LoadingCode({ adapter }: { adapter: Adapter }) {
  return (
    <Section title="Load it">
      <Loaded query={useQuery(cardQuery(adapter))}>{(card) => <Snippets card={card} />}</Loaded>
    </Section>
  );
}

function Snippets({ card }: { card: string }) {
  const snippets = snippetsOf(card);
  return (
    <div className="grid min-w-0 gap-3 px-4 pb-4">
      {!snippets.length && <p className="text-muted">Its model card does not say how.</p>}
      {snippets.map(({ label, code }) => (
        <CopyBlock key={label} label={label} code={code} />
      ))}
      {snippets.length > 0 && (
        <p className="fact">
          <code className="font-mono">path/to/this/folder</code> is the folder where you unpacked the download.
        </p>
      )}
    </div>
  );
}
