import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useEffect, useEffectEvent, useState } from "react";

import { Conversation } from "@/api/chat/conversation";
import { beginQuery } from "@/api/chat/models";
import { modelsOf, type PlaygroundSearch, withModel, withoutModel } from "@/lib/addresses/playgroundSearch";
import { useVersion } from "@/lib/browser/changing";
import { schemaProblem } from "@/lib/chat/chatRequest";
import { Empty } from "@/components/page/Empty";
import { PageTitle } from "@/components/page/PageTitle";
import { Reading } from "@/components/page/Reading";

import { AddModel } from "./AddModel";
import { ChatSettings } from "./ChatSettings";
import { Composer } from "./Composer";
import { ModelPane } from "./ModelPane";
import { OfferedPrompts } from "./OfferedPrompts";

const route = getRouteApi("/playground");

/** Asks up to four models the same. The address holds the models and the settings. */
export function PlaygroundPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const conversation = useConversation();
  const models = modelsOf(search.models);
  const change = (changed: Partial<PlaygroundSearch>) =>
    void navigate({ search: (before) => ({ ...before, ...changed }), replace: true, resetScroll: false });
  const isBeginning = useBegin(search, change);
  if (isBeginning) {
    return (
      <>
        <PageTitle title="Playground" />
        <Reading />
      </>
    );
  }
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
      {models.length === 0 && (
        <Empty>Add a model above: a base model, a fine-tuned model or one of its checkpoints. Then ask it below.</Empty>
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
      {conversation.turns.length === 0 && (
        <OfferedPrompts
          job={search.job}
          disabled={!canAsk}
          onAsk={({ system, prompt, expected }) => {
            const changed = {
              ...(system !== undefined && { system: system || undefined }),
              // what was expected is compared with the likeliest answer, not with one that is drawn
              ...(expected !== null && search.temperature === undefined && { temperature: 0 }),
            };
            change(changed);
            ask(prompt, expected, { ...search, ...changed });
          }}
        />
      )}
      <Composer disabled={!canAsk} isAnswering={conversation.isAnswering} onAsk={ask} onStop={() => conversation.stopAll()} />
    </>
  );
}

/**
 * Puts the models to begin with into an address that names none, once. Returns whether they are still being read. If the
 * user removes all models later, none are put back.
 */
function useBegin({ models, job }: PlaygroundSearch, change: (changed: Partial<PlaygroundSearch>) => void): boolean {
  const [wasNamed, setWasNamed] = useState(models !== undefined);
  if (models !== undefined && !wasNamed) setWasNamed(true);
  const { data: found, error } = useQuery({ ...beginQuery(useQueryClient()), enabled: !wasNamed });
  const begins = !wasNamed && found !== undefined && found.models.length > 0;
  const begin = useEffectEvent(() => change({ models: found?.models.join(), job: job ?? found?.job ?? undefined }));
  useEffect(() => {
    if (begins) begin();
  }, [begins]);
  return begins || (!wasNamed && found === undefined && error === null);
}

/** Returns a conversation that ends with the page. */
function useConversation(): Conversation {
  const [conversation] = useState(() => new Conversation());
  useVersion(conversation);
  useEffect(() => () => conversation.stopAll(), [conversation]);
  return conversation;
}
