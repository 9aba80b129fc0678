import { useQuery } from "@tanstack/react-query";

import { fileQuery, previewQuery } from "@/api/files/files";
import { jobQuery } from "@/api/jobs/jobs";
import { isSettled } from "@/api/settled";
import { type FirstPrompt, firstPrompt } from "@/lib/chat/firstPrompt";
import { Section } from "@/components/page/Section";

import { ExamplePrompts } from "./ExamplePrompts";

interface OfferedPromptsProps {
  disabled: boolean;
  /** Without a system prompt, the one of the settings stays. */
  onAsk: (asked: { system?: string; prompt: string; expected: string | null }) => void;
}

/** Offers the first row of the job's validation file as a prompt. Without the job or such a row, it offers examples. */
export function OfferedPrompts({ job: jobId = "", ...props }: OfferedPromptsProps & { job: string | undefined }) {
  const job = useQuery({ ...jobQuery(jobId), enabled: jobId !== "" });
  const id = job.data?.validation_file ?? "";
  const file = useQuery({ ...fileQuery(id), enabled: id !== "" });
  const preview = useQuery({ ...previewQuery(file.data ?? NO_FILE), enabled: file.data !== undefined });
  if (![job, file, preview].every(isSettled)) return null;
  const first = preview.data ? firstPrompt(preview.data.text, preview.data.isWhole) : null;
  if (!first || !file.data) return <ExamplePrompts disabled={props.disabled} onAsk={(prompt) => props.onAsk({ prompt, expected: null })} />;
  return <FirstRow name={file.data.filename} first={first} {...props} />;
}

const NO_FILE = { id: "", bytes: 0 };

function FirstRow({ name, first, disabled, onAsk }: OfferedPromptsProps & { name: string; first: FirstPrompt }) {
  const { system, prompt, expected } = first;
  return (
    <Section
      title={`The first row of ${name}`}
      tools={
        <button type="button" className="button button-primary" disabled={disabled} onClick={() => onAsk({ system, prompt, expected })}>
          Ask this
        </button>
      }
    >
      <p className="max-h-40 overflow-auto px-4 pb-4 break-words whitespace-pre-wrap" tabIndex={0} role="region" aria-label="Offered prompt">
        {prompt}
      </p>
    </Section>
  );
}
