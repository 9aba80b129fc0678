import { useState } from "react";

import type { CreateJob } from "@/api/types";
import { cliOf, curlOf, jsonOf, pythonOf } from "@/lib/newJob/snippets";
import { CopyBlock } from "@/parts/basics/CopyBlock";

const FORMS = {
  Request: (request: CreateJob) => jsonOf(request),
  Python: pythonOf,
  curl: curlOf,
  CLI: cliOf,
} satisfies Record<string, (request: CreateJob, origin: string) => string>;

type Form = keyof typeof FORMS;

const labels = (kind: "jobs" | "sweeps"): Record<Form, string> => ({
  Request: `POST /v1/fine_tuning/${kind}`,
  Python: "The openai package",
  curl: "A shell with curl",
  CLI: `tunery ${kind} create`,
});

/** The request as JSON, and as code that sends it. */
export function RequestCode({ request }: { request: CreateJob }) {
  const [form, setForm] = useState<Form>("Request");
  return (
    <div className="grid min-w-0 grid-cols-1 gap-2 [&_pre]:max-h-80 [&_pre]:overflow-y-auto">
      <div role="group" aria-label="The request as" className="flex flex-wrap gap-1">
        {(Object.keys(FORMS) as Form[]).map((one) => (
          <button
            key={one}
            type="button"
            aria-pressed={form === one}
            className="button px-2.5 aria-pressed:border-accent aria-pressed:bg-tint aria-pressed:text-accent"
            onClick={() => setForm(one)}
          >
            {one}
          </button>
        ))}
      </div>
      <CopyBlock key={form} label={labels(request.parameters ? "sweeps" : "jobs")[form]} code={FORMS[form](request, location.origin)} />
      {form !== "Request" && (
        <p className="fact">
          The key comes from <code className="font-mono">TUNERY_API_KEY</code>.
        </p>
      )}
    </div>
  );
}
