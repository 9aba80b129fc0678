import { Section } from "@/components/page/Section";

const EXAMPLES = [
  "Explain in one sentence what fine-tuning is.",
  "Write a short, polite answer to a customer whose parcel is late.",
  "Name three good uses of a small language model.",
];

/** Prompts to begin with, for a model that no job's rows belong to. */
export function ExamplePrompts({ disabled, onAsk }: { disabled: boolean; onAsk: (prompt: string) => void }) {
  return (
    <Section title="Prompts to begin with">
      <ul className="flex flex-wrap gap-2 px-4 pb-4">
        {EXAMPLES.map((prompt) => (
          <li key={prompt}>
            <button type="button" className="button text-left whitespace-normal" disabled={disabled} onClick={() => onAsk(prompt)}>
              {prompt}
            </button>
          </li>
        ))}
      </ul>
    </Section>
  );
}
