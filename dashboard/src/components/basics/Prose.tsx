/** Names between two backticks, which the API writes into its texts. */
const CODE = /`([^`\n]+)`/;

/** A text of the API, in which names stand between backticks, as its OpenAPI document writes them. */
export function Prose({ text }: { text: string }) {
  return text.split(CODE).map((part, at) =>
    at % 2 ? (
      <code key={at} className="font-mono">
        {part}
      </code>
    ) : (
      part
    ),
  );
}
