import { useQuery } from "@tanstack/react-query";

import { promptTokensQuery } from "@/api/chat/promptTokens";
import type { ChatRequest } from "@/lib/chat/chatRequest";
import { counted, integer } from "@/lib/text/format";
import { CopyBlock } from "@/components/basics/CopyBlock";
import { Loaded } from "@/components/page/Loaded";

/** The text that the model gets, with each token marked, and the ids of the tokens. */
export function PromptTokens({ request }: { request: ChatRequest }) {
  const query = useQuery(promptTokensQuery(request));
  return (
    <Loaded query={query}>
      {({ count, max_model_len: most, tokens, token_strs: texts }) => (
        <div className="grid min-w-0 grid-cols-1 gap-3 [&_pre]:max-h-40 [&_pre]:overflow-y-auto">
          <p className="fact">
            {counted(count, "token")} of the model’s {integer(most)}. Point at a token to see its id.
          </p>
          <div
            role="region"
            aria-label="Rendered prompt"
            tabIndex={0}
            className="max-h-80 overflow-auto rounded bg-sunken p-3 font-mono text-xs leading-relaxed break-words whitespace-pre-wrap"
          >
            {tokens.map((id, index) => (
              <span key={index} title={`${id} ${JSON.stringify(texts?.[index])}`} className="odd:underline odd:decoration-muted">
                {texts?.[index]}
              </span>
            ))}
          </div>
          <CopyBlock label="Token ids" code={JSON.stringify(tokens)} wraps />
        </div>
      )}
    </Loaded>
  );
}
