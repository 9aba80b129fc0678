import { type KeyboardEvent, type SubmitEvent, useState } from "react";

interface ComposerProps {
  disabled: boolean;
  isAnswering: boolean;
  onAsk: (prompt: string) => void;
  onStop: () => void;
}

/** The field for the next prompt. Enter sends it, and Shift+Enter begins a new line. */
export function Composer({ disabled, isAnswering, onAsk, onStop }: ComposerProps) {
  const [prompt, setPrompt] = useState("");
  const send = () => {
    if (disabled || !prompt.trim()) return;
    onAsk(prompt);
    setPrompt("");
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    send();
  };
  const press = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form onSubmit={submit} className="card sticky bottom-2 mt-auto flex items-end gap-2 p-2">
      <textarea
        aria-label="Prompt"
        className="field min-w-0 flex-1"
        rows={2}
        placeholder="Ask all models…"
        value={prompt}
        onChange={({ target: { value } }) => setPrompt(value)}
        onKeyDown={press}
      />
      {isAnswering ? (
        <button type="button" className="button" onClick={onStop}>
          Stop
        </button>
      ) : (
        <button type="submit" className="button button-primary" disabled={disabled || !prompt.trim()}>
          Send
        </button>
      )}
    </form>
  );
}
