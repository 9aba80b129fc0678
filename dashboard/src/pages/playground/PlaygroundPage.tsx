import { getRouteApi } from "@tanstack/react-router";
import { useEffect, useState, useSyncExternalStore } from "react";

import { Conversation } from "@/api/chat/conversation";
import { modelsOf, type PlaygroundSearch, withModel, withoutModel } from "@/lib/addresses/playgroundSearch";
import { schemaProblem } from "@/lib/chat/chatRequest";
import { Empty } from "@/parts/page/Empty";
import { PageTitle } from "@/parts/page/PageTitle";

import { AddModel } from "./AddModel";
import { ChatSettings } from "./ChatSettings";
import { Composer } from "./Composer";
import { ModelPane } from "./ModelPane";
import { OfferedPrompt } from "./OfferedPrompt";

const route = getRouteApi("/playground");

/** Asks up to four models the same. The address holds the models and the settings. */
export function PlaygroundPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const conversation = useConversation();
  const models = modelsOf(search.models);
  const change = (changed: Partial<PlaygroundSearch>) =>
    void navigate({ search: (before) => ({ ...before, ...changed }), replace: true, resetScroll: false });
  const canAsk = models.length > 0 && !conversation.isAnswering && !schemaProblem(search.schema ?? "");
  const ask = (prompt: string, expected: string | null = null, settings = search) =>
    conversation.ask(prompt, expected, models, settings);
  return (
    <>
      <PageTitle title="Playground">
        <AddModel chosen={models} onAdd={(name) => change({ models: withModel(search.models, name) })} />
        {conversation.turns.length > 0 && (
          <button type="button" className="button ml-auto" onClick={() => conversation.clear()}>
            Start over
          </button>
        )}
      </PageTitle>
      <ChatSettings settings={search} onChange={change} />
      {models.length === 0 && <Empty>Add a model: a base model, a fine-tuned model, one of its checkpoints.</Empty>}
      {search.job !== undefined && conversation.turns.length === 0 && (
        <OfferedPrompt
          jobId={search.job}
          disabled={!canAsk}
          onAsk={({ system, prompt, expected }) => {
            change({ system: system || undefined });
            ask(prompt, expected, { ...search, system });
          }}
        />
      )}
      {models.length > 0 && (
        <div className="grid items-start gap-4 lg:auto-cols-fr lg:grid-flow-col">
          {models.map((model) => (
            <ModelPane
              key={model}
              model={model}
              conversation={conversation}
              settings={search}
              onRemove={() => {
                conversation.stop(model);
                change({ models: withoutModel(search.models, model) });
              }}
            />
          ))}
        </div>
      )}
      <Composer disabled={!canAsk} isAnswering={conversation.isAnswering} onAsk={ask} onStop={() => conversation.stopAll()} />
    </>
  );
}

/** Returns a conversation that ends with the page. */
function useConversation(): Conversation {
  const [conversation] = useState(() => new Conversation());
  useSyncExternalStore(conversation.subscribe, conversation.getVersion);
  useEffect(() => () => conversation.stopAll(), [conversation]);
  return conversation;
}
