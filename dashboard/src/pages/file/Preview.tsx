import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { type FilePreview, previewQuery } from "@/api/files/files";
import { type Message, type Row, rowsOf } from "@/lib/datasets/datasetRows";
import { integer } from "@/lib/text/format";
import { Loaded } from "@/components/page/Loaded";
import { Section } from "@/components/page/Section";
import type { FileObject } from "@/types/api";

const MOST_ROWS = 20;
const MOST_CHARACTERS = 2000; // of one message

/** The first rows of a file: as conversations, or as answers beside each other. */
export function Preview({ file }: { file: FileObject }) {
  return (
    <Section title="First rows">
      <Loaded query={useQuery(previewQuery(file))}>
        {(preview) => <Rows preview={preview} all={file.rows ?? null} />}
      </Loaded>
    </Section>
  );
}

function Rows({ preview, all }: { preview: FilePreview; all: number | null }) {
  const rows = useMemo(() => rowsOf(preview.text, preview.isWhole, MOST_ROWS), [preview]);
  return (
    <>
      <ol>
        {rows.map((row, at) => (
          <li key={at} className="border-t border-line px-4 py-3">
            <p className="fact mb-1">Row {at + 1}</p>
            <RowView row={row} />
          </li>
        ))}
      </ol>
      {all !== null && all > rows.length && (
        <p className="fact border-t border-line px-4 py-2">
          {integer(rows.length)} of {integer(all)} rows. The download has all of them.
        </p>
      )}
    </>
  );
}

export function RowView({ row }: { row: Row }) {
  switch (row.kind) {
    case "chat":
      return <Conversation messages={row.messages} />;
    case "preference":
      return (
        <div className="grid gap-3">
          <Conversation messages={row.prompt} />
          <div className="grid gap-3 md:grid-cols-2">
            <Answer title="Preferred" tone="border-good" messages={row.preferred} />
            <Answer title="Not preferred" tone="border-bad" messages={row.other} />
          </div>
        </div>
      );
    case "labelled":
      return (
        <div className="grid gap-3">
          <Conversation messages={row.prompt} />
          <Answer
            title={row.label ? "Desirable" : "Not desirable"}
            tone={row.label ? "border-good" : "border-bad"}
            messages={row.answer}
          />
        </div>
      );
    case "prompt":
      return (
        <div className="grid gap-2">
          <Conversation messages={row.prompt} />
          {row.beside && <code className="block font-mono text-xs break-all text-muted">{cut(row.beside)}</code>}
        </div>
      );
    case "text":
      return <code className="block font-mono text-xs break-all whitespace-pre-wrap">{cut(row.text)}</code>;
  }
}

function Answer({ title, tone, messages }: { title: string; tone: string; messages: Message[] }) {
  return (
    <div className={`rounded border-l-4 bg-sunken p-3 ${tone}`}>
      <p className="mb-1 font-medium">{title}</p>
      <Conversation messages={messages} />
    </div>
  );
}

function Conversation({ messages }: { messages: Message[] }) {
  return (
    <dl className="grid gap-2">
      {messages.map(({ role, text, notes }, at) => (
        <div key={at} className="grid gap-x-3 sm:grid-cols-[5.5rem_1fr]">
          <dt className={role === "assistant" ? "text-accent" : "text-muted"}>{role}</dt>
          <dd className="min-w-0 break-words whitespace-pre-wrap">
            {cut(text)}
            {notes.map((note) => (
              <code key={note} className="block font-mono text-xs break-all text-muted">
                {cut(note)}
              </code>
            ))}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function cut(text: string): string {
  const more = text.length - MOST_CHARACTERS;
  return more > 0 ? `${text.slice(0, MOST_CHARACTERS)}… (${integer(more)} more characters)` : text;
}
