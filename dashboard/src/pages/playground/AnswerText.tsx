import { type Answer, isUnderWay, type Token, tokensOfText } from "@/lib/chat/answer";
import { Failure } from "@/components/page/Notice";

const LIKELY = 0.9; // a token below this probability is marked
const DOUBTFUL = 0.5;

/** The text of an answer. A token that was not likely is underlined, and each token shows its probability on hover. */
export function AnswerText({ answer }: { answer: Answer }) {
  const tokens = tokensOfText(answer);
  return (
    <div className="min-w-0 rounded border-l-4 border-accent bg-sunken p-3">
      <h3 className="fact mb-1">Answer</h3>
      <div
        aria-live="polite"
        aria-busy={isUnderWay(answer)}
        tabIndex={0}
        role="region"
        aria-label={`Answer of ${answer.asked}`}
        className="max-h-96 overflow-auto break-words whitespace-pre-wrap"
      >
        {tokens ? tokens.map((token, index) => <TokenText key={index} token={token} />) : answer.text}
        {answer.state === "waiting" && <span className="text-muted">Waiting…</span>}
      </div>
      {answer.state === "failed" && <Failure asked error={answer.failure} />}
    </div>
  );
}

function TokenText({ token }: { token: Token }) {
  return (
    <span title={wordsOf(token)} className={markOf(token)}>
      {token.text}
    </span>
  );
}

function markOf({ probability }: Token): string {
  if (probability >= LIKELY) return "";
  return `underline decoration-2 underline-offset-2 ${probability < DOUBTFUL ? "decoration-bad" : "decoration-warn decoration-dotted"}`;
}

function wordsOf({ text, probability, likely }: Token): string {
  const others = likely.filter((one) => one.text !== text).map((one) => `${JSON.stringify(one.text)} ${percent(one.probability)}`);
  return [`${JSON.stringify(text)} ${percent(probability)}`, ...others].join("\n");
}

function percent(probability: number): string {
  return `${(100 * probability).toFixed(1)} %`;
}
