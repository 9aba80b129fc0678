import { useState } from "react";

import type { Conversation, Turn } from "@/api/chat/conversation";
import type { PlaygroundSearch } from "@/lib/addresses/playgroundSearch";
import { type Answer, isUnderWay } from "@/lib/chat/answer";
import { ChatCode } from "@/components/basics/ChatCode";
import { Icon } from "@/components/basics/Icon";
import { Modal } from "@/components/dialogs/Modal";

import { AnswerFacts } from "./AnswerFacts";
import { AnswerRating } from "./AnswerRating";
import { AnswerText } from "./AnswerText";
import { PromptTokens } from "./PromptTokens";

interface ModelPaneProps {
  model: string;
  conversation: Conversation;
  settings: PlaygroundSearch;
  onRemove: () => void;
}

/** What one model answered. */
export function ModelPane({ model, conversation, settings, onRemove }: ModelPaneProps) {
  const [shown, setShown] = useState<"tokens" | "code" | null>(null);
  const { turns } = conversation;
  const last = turns.at(-1)?.answers.get(model);
  return (
    <section aria-label={model} className="card min-w-0">
      <header className="flex flex-wrap items-center gap-2 px-4 py-2.5">
        <h2 className="min-w-0 flex-1 break-all">{model}</h2>
        <button type="button" className="button px-2" title="Remove this model" aria-label={`Remove ${model}`} onClick={onRemove}>
          <Icon name="close" />
        </button>
      </header>
      {turns.map((turn, index) => (
        <TurnInPane key={index} turn={turn} answer={turn.answers.get(model)} isStored={settings.store ?? false} />
      ))}
      {turns.length > 0 && (
        <footer className="flex flex-wrap gap-2 border-t border-line px-4 py-2">
          {last && isUnderWay(last) ? (
            <button type="button" className="button" onClick={() => conversation.stop(model)}>
              Stop
            </button>
          ) : (
            <button type="button" className="button" onClick={() => conversation.retry(model, settings)}>
              {last ? "Retry" : "Ask"}
            </button>
          )}
          <button type="button" className="button" onClick={() => setShown("tokens")}>
            Tokens
          </button>
          <button type="button" className="button" onClick={() => setShown("code")}>
            Code
          </button>
        </footer>
      )}
      {shown === "tokens" && (
        <Modal title="The prompt as the model gets it" onClose={() => setShown(null)}>
          <PromptTokens request={conversation.request(model, settings)} />
        </Modal>
      )}
      {shown === "code" && (
        <Modal title="The request as code" onClose={() => setShown(null)}>
          <ChatCode request={conversation.request(model, settings)} />
        </Modal>
      )}
    </section>
  );
}

function TurnInPane({ turn, answer, isStored }: { turn: Turn; answer: Answer | undefined; isStored: boolean }) {
  return (
    <div className="grid gap-2 border-t border-line px-4 py-3">
      <Words title="Prompt" text={turn.prompt} />
      {answer && <AnswerText answer={answer} />}
      {answer && <AnswerFacts answer={answer} />}
      {isStored && answer?.state === "ended" && answer.id !== null && <AnswerRating key={answer.id} id={answer.id} />}
      {turn.expected !== null && <Words title="Expected" text={turn.expected} />}
    </div>
  );
}

function Words({ title, text }: { title: string; text: string }) {
  return (
    <div className="rounded bg-sunken p-3">
      <h3 className="fact mb-1">{title}</h3>
      <p className="break-words whitespace-pre-wrap">{text}</p>
    </div>
  );
}
