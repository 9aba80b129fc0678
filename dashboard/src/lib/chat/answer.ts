/** The answer of one model, as far as it has arrived. */

/** A token of an answer, with its probability and the tokens that were likely beside it. */
export interface Token {
  text: string;
  probability: number;
  likely: readonly { text: string; probability: number }[];
}

export interface Answer {
  /** The name that was asked. `model` is the model that answered, which an alias or a canary chose. */
  asked: string;
  model: string | null;
  /** The id of the completion, under which it is stored if that was asked for. */
  id: string | null;
  text: string;
  tokens: readonly Token[];
  state: "waiting" | "writing" | "ended" | "stopped" | "failed";
  finishReason: string | null;
  usage: Usage | null;
  failure: unknown;
  /** Milliseconds from the request to the first text, and from the first text to the end. */
  waited: number | null;
  wrote: number | null;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number | null } | null;
}

interface Probable {
  token: string;
  logprob: number;
  top_logprobs?: { token: string; logprob: number }[] | null;
}

/** The part of a streamed chunk that is shown. */
export interface Chunk {
  id: string;
  model: string;
  choices: {
    delta: { content?: string | null };
    finish_reason?: string | null;
    logprobs?: { content?: Probable[] | null } | null;
  }[];
  usage?: Usage | null;
}

export function newAnswer(asked: string): Answer {
  return {
    asked,
    model: null,
    id: null,
    text: "",
    tokens: [],
    state: "waiting",
    finishReason: null,
    usage: null,
    failure: null,
    waited: null,
    wrote: null,
  };
}

export const isUnderWay = ({ state }: Answer) => state === "waiting" || state === "writing";

/** Returns the answer with one more chunk, which arrived `elapsed` milliseconds after the request. */
export function withChunk(answer: Answer, chunk: Chunk, elapsed: number): Answer {
  const choice = chunk.choices[0];
  const text = choice?.delta.content ?? "";
  const waited = answer.waited ?? (text ? elapsed : null);
  return {
    ...answer,
    model: chunk.model,
    id: chunk.id,
    text: answer.text + text,
    tokens: [...answer.tokens, ...(choice?.logprobs?.content ?? []).map(tokenOf)],
    state: "writing",
    finishReason: choice?.finish_reason ?? answer.finishReason,
    usage: chunk.usage ?? answer.usage,
    waited,
    wrote: waited === null ? null : elapsed - waited,
  };
}

function tokenOf({ token, logprob, top_logprobs }: Probable): Token {
  const likely = (top_logprobs ?? []).map((one) => ({ text: one.token, probability: Math.exp(one.logprob) }));
  return { text: token, probability: Math.exp(logprob), likely };
}

/** Returns the tokens if they make up the whole text. A token that ends inside a character does not. */
export function tokensOfText({ text, tokens }: Answer): readonly Token[] | null {
  return tokens.length && tokens.map((token) => token.text).join("") === text ? tokens : null;
}

/** Returns the tokens per second after the first one; null if there are too few of them. */
export function tokensPerSecond({ usage, wrote }: Answer): number | null {
  return usage && wrote && usage.completion_tokens > 1 ? ((usage.completion_tokens - 1) * 1000) / wrote : null;
}
