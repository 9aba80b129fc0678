import { type Answer, tokensPerSecond } from "@/lib/chat/answer";
import { counted, integer, milliseconds, significant } from "@/lib/text/format";

const REASONS: Record<string, string> = {
  length: "cut off at the most tokens",
  tool_calls: "ended with calls of tools",
  content_filter: "cut off by a filter",
};

/** How an answer ended, how long it is, and how fast it came. */
export function AnswerFacts({ answer }: { answer: Answer }) {
  const { usage, waited, model, asked, state, finishReason } = answer;
  const speed = tokensPerSecond(answer);
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  const facts = [
    model !== null && model !== asked && `answered by ${model}`,
    state === "stopped" && "stopped by you",
    finishReason !== null && REASONS[finishReason],
    usage && `prompt of ${counted(usage.prompt_tokens, "token")}${cached ? `, ${integer(cached)} from the cache` : ""}`,
    usage && `answer of ${counted(usage.completion_tokens, "token")}`,
    waited !== null && `first text after ${milliseconds(waited)}`,
    speed !== null && `${significant(speed)} tokens per second`,
  ].filter(Boolean);
  return facts.length ? <p className="fact">{facts.join(" · ")}</p> : null;
}
