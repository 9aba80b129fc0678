import { useQuery } from "@tanstack/react-query";

import { cardQuery } from "@/api/project/adapters";
import { chatRequest } from "@/lib/chat/chatRequest";
import { snippetsOf } from "@/lib/facts/adapterFacts";
import { ChatCode } from "@/components/basics/ChatCode";
import { CopyBlock } from "@/components/basics/CopyBlock";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { Adapter } from "@/types/api";

const PROMPT = { role: "user", content: "Hello!" } as const;

/** How the adapter is used: asked over this service, or loaded elsewhere. */
export function UseIt({ adapter }: { adapter: Adapter }) {
  return (
    <Section title="Use it">
      <div className="grid min-w-0 gap-4 px-4 pb-4">
        <div className="grid min-w-0 gap-2">
          <h3>Ask it</h3>
          <ChatCode request={chatRequest(adapter.model, [PROMPT], {})} />
        </div>
        <div className="grid min-w-0 gap-2">
          <h3>Load it elsewhere</h3>
          <Loaded query={useQuery(cardQuery(adapter))}>{(card) => <LoadingCode card={card} />}</Loaded>
        </div>
      </div>
    </Section>
  );
}

/** The code that loads the adapter. It comes from the model card, which the worker wrote for this method. */
function LoadingCode({ card }: { card: string }) {
  const snippets = snippetsOf(card);
  if (!snippets.length) return <p className="text-muted">Its model card does not say how.</p>;
  return (
    <>
      {snippets.map(({ label, code }) => (
        <CopyBlock key={label} label={label} code={code} />
      ))}
      <p className="fact">
        <code className="font-mono">path/to/this/folder</code> is the folder where you unpacked the download.
      </p>
    </>
  );
}
