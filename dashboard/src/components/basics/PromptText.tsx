import { promptMessages } from "@/lib/facts/promptMessages";

import { SampleText } from "./SampleText";

/** A sample's prompt: its messages, each with its role, where the text shows them, or else the text. */
export function PromptText({ title, prompt }: { title: string; prompt: string }) {
  const messages = promptMessages(prompt);
  if (!messages) return <SampleText title={title} text={prompt} />;
  return (
    <SampleText title={title} text={null}>
      <dl className="grid gap-1.5">
        {messages.map(({ role, text }, at) => (
          <div key={at}>
            <dt className={`fact ${role === "assistant" ? "text-accent" : ""}`}>{role}</dt>
            <dd>{text || <span className="text-muted">empty</span>}</dd>
          </div>
        ))}
      </dl>
    </SampleText>
  );
}
