import { useQuery } from "@tanstack/react-query";

import { fileQuery, previewQuery } from "@/api/files/files";
import { jobQuery } from "@/api/jobs/jobs";
import type { FileObject } from "@/api/types";
import { type FirstPrompt, firstPrompt } from "@/lib/chat/firstPrompt";
import { Section } from "@/parts/page/Section";

interface OfferedPromptProps {
  jobId: string;
  disabled: boolean;
  onAsk: (prompt: FirstPrompt) => void;
}

/** Offers the first row of the job's validation file as a prompt. Shows nothing if the job or the file is gone. */
export function OfferedPrompt({ jobId, ...props }: OfferedPromptProps) {
  const { data: job } = useQuery(jobQuery(jobId));
  const id = job?.validation_file ?? "";
  const { data: file } = useQuery({ ...fileQuery(id), enabled: id !== "" });
  return file ? <FirstRow file={file} {...props} /> : null;
}

function FirstRow({ file, disabled, onAsk }: Omit<OfferedPromptProps, "jobId"> & { file: FileObject }) {
  const { data } = useQuery(previewQuery(file));
  const first = data ? firstPrompt(data.text, data.isWhole) : null;
  if (!first) return null;
  return (
    <Section
      title={`The first row of ${file.filename}`}
      tools={
        <button type="button" className="button button-primary" disabled={disabled} onClick={() => onAsk(first)}>
          Ask this
        </button>
      }
    >
      <p className="max-h-40 overflow-auto px-4 pb-4 break-words whitespace-pre-wrap" tabIndex={0} role="region" aria-label="Offered prompt">
        {first.prompt}
      </p>
    </Section>
  );
}
