import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { usePreviewRows } from "@/api/files/files";
import { baseModelsQuery } from "@/api/jobs/offers";
import { useMayWrite } from "@/api/project/session";
import { conversationWords, linesIn, lineWords } from "@/lib/datasets/checkFacts";
import { Prose } from "@/components/basics/Prose";
import { BaseChooser } from "@/components/files/BaseChooser";
import { Labelled } from "@/components/forms/Labelled";
import { Failure, Notice } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import type { ConversationPreview, FileObject, RowPreview } from "@/types/api";

/** Rows as training sees them under a base model, with what is learnt. */
export function Masks({ file }: { file: FileObject }) {
  const mayWrite = useMayWrite();
  const preview = usePreviewRows(file.id);
  const { data: models = [] } = useQuery(baseModelsQuery);
  const [chosen, setChosen] = useState<string>();
  const [lines, setLines] = useState("1");
  const model = chosen ?? models[0] ?? "";
  const wanted = linesIn(lines);
  if (!mayWrite) return null;
  return (
    <Section title="What is learnt">
      <form
        className="flex flex-wrap items-end gap-3 px-4 pb-4"
        onSubmit={(event) => {
          event.preventDefault();
          preview.mutate({ model, lines: wanted });
        }}
      >
        <BaseChooser label="Base model" value={model} onChange={setChosen} />
        <Labelled label="Lines or rows, at most 20">
          <input className="field w-40" value={lines} onChange={({ target }) => setLines(target.value)} />
        </Labelled>
        <button type="submit" className="button" disabled={preview.isPending || !model || !wanted.length}>
          Show rows
        </button>
      </form>
      <div aria-live="polite">
        {preview.isPending && <p className="px-4 pb-4 text-muted">Rendering the rows…</p>}
        {preview.error && !preview.isPending && <Failure asked error={preview.error} />}
        {preview.data && !preview.isPending && <Rows rows={preview.data.rows} word={preview.data.numbered_by} />}
      </div>
    </Section>
  );
}

interface RowsProps {
  rows: readonly RowPreview[];
  /** What the numbers of rows count. */
  word: string;
}

function Rows({ rows, word }: RowsProps) {
  return (
    <>
      <p className="fact px-4 pb-2">
        <Learnt>Marked and underlined</Learnt> text is learnt, with its weight if it is not 1. The rest is read only.
      </p>
      <ol>
        {rows.map((row) => (
          <li key={row.line} className="grid gap-2 border-t border-line px-4 py-3">
            {row.error ? (
              <Notice tone="warn">
                {lineWords(word, row.line)}: <Prose text={row.error.message} />
              </Notice>
            ) : (
              <Row row={row} word={word} />
            )}
          </li>
        ))}
      </ol>
    </>
  );
}

function Row({ row, word }: { row: RowPreview; word: string }) {
  return (
    <>
      {!row.is_learnt && (
        <p className="text-warn">
          Training leaves {word} {row.line} out: nothing is left to learn, or it is a prompt that is too long.
        </p>
      )}
      {(row.conversations ?? []).map((conversation, at) => (
        <Conversation key={at} where={lineWords(word, row.line)} conversation={conversation} />
      ))}
    </>
  );
}

function Conversation({ where, conversation }: { where: string; conversation: ConversationPreview }) {
  return (
    <div className="min-w-0">
      <p className="fact mb-1">
        {where}: {conversationWords(conversation)}
      </p>
      <p className="font-mono text-xs break-words whitespace-pre-wrap">
        {conversation.segments.map((segment, at) =>
          segment.learnt ? (
            <Learnt key={at} weight={segment.weight}>
              {segment.text}
            </Learnt>
          ) : (
            <span key={at}>{segment.text}</span>
          ),
        )}
        {conversation.cut_text && (
          <del className="text-muted">
            <span className="sr-only">cut: </span>
            {conversation.cut_text}
          </del>
        )}
      </p>
    </div>
  );
}

function Learnt({ weight = 1, children }: { weight?: number; children: string }) {
  return (
    <>
      <mark className="bg-tint text-ink underline decoration-accent decoration-2 underline-offset-2">{children}</mark>
      {weight !== 1 && <sub className="text-muted"> ×{Number(weight.toFixed(3))}</sub>}
    </>
  );
}
