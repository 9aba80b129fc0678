/** A conversation with several models: each prompt goes to all of them, and each model sees its own answers only. */

import { type Answer, isUnderWay, newAnswer, withChunk } from "@/lib/chat/answer";
import { type ChatMessage, chatRequest, type ChatRequest } from "@/lib/chat/chatRequest";
import { Changing } from "@/lib/browser/changing";
import type { PlaygroundSearch } from "@/lib/addresses/playgroundSearch";

import { streamAnswer } from "./streamAnswer";

const NOTIFY_MS = 50; // between two renderings

export interface Turn {
  prompt: string;
  /** The answer that a file holds for this prompt. */
  expected: string | null;
  answers: ReadonlyMap<string, Answer>;
}

export class Conversation extends Changing {
  turns: readonly Turn[] = [];
  private readonly running = new Map<string, AbortController>();

  constructor() {
    super(NOTIFY_MS);
  }

  get isAnswering(): boolean {
    return this.running.size > 0;
  }

  ask(prompt: string, expected: string | null, models: readonly string[], settings: PlaygroundSearch): void {
    this.turns = [...this.turns, { prompt, expected, answers: new Map() }];
    for (const model of models) this.answer(model, settings);
    this.notify();
  }

  /** Asks a model for another answer to the last prompt. */
  retry(model: string, settings: PlaygroundSearch): void {
    this.stop(model);
    this.answer(model, settings);
  }

  stop(model: string): void {
    this.running.get(model)?.abort();
  }

  stopAll(): void {
    for (const controller of this.running.values()) controller.abort();
  }

  clear(): void {
    this.stopAll();
    this.turns = [];
    this.notify();
  }

  /** The request that gave, or gives, a model's answer to the last prompt. */
  request(model: string, settings: PlaygroundSearch): ChatRequest {
    const last = this.turns.at(-1);
    const messages = this.turns.slice(0, -1).flatMap((turn) => messagesOf(turn, model));
    return chatRequest(model, [...messages, { role: "user", content: last?.prompt ?? "" }], settings);
  }

  private answer(model: string, settings: PlaygroundSearch): void {
    const position = this.turns.length - 1;
    const controller = new AbortController();
    const begun = performance.now();
    this.running.set(model, controller);
    let answer = newAnswer(model);
    const become = (changed: Answer) => {
      answer = changed;
      if (this.running.get(model) === controller) this.put(position, model, answer);
    };
    become(answer);
    const request = this.request(model, settings);
    streamAnswer(request, (chunk) => become(withChunk(answer, chunk, performance.now() - begun)), controller.signal)
      .then(() => become({ ...answer, state: "ended" }))
      .catch((failure: unknown) => become(ended(answer, controller.signal.aborted, failure)))
      .finally(() => this.running.get(model) === controller && this.running.delete(model))
      .finally(() => this.notify());
  }

  private put(position: number, model: string, answer: Answer): void {
    this.turns = this.turns.map((turn, index) =>
      index === position ? { ...turn, answers: new Map(turn.answers).set(model, answer) } : turn,
    );
    this.notify();
  }
}

function ended(answer: Answer, wasStopped: boolean, failure: unknown): Answer {
  return wasStopped ? { ...answer, state: "stopped" } : { ...answer, state: "failed", failure };
}

/** Returns the prompt and the answer of an earlier turn; nothing if the model has not answered there. */
function messagesOf({ prompt, answers }: Turn, model: string): ChatMessage[] {
  const answer = answers.get(model);
  if (!answer || isUnderWay(answer) || answer.state === "failed") return [];
  return [
    { role: "user", content: prompt },
    { role: "assistant", content: answer.text },
  ];
}
