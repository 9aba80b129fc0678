import { cliOf, curlOf, jsonOf, pythonOf } from "@/lib/newJob/snippets";
import { CodeForms } from "@/components/basics/CodeForms";
import type { CreateJob } from "@/types/api";

/** The request as JSON, and as code that sends it. */
export function RequestCode({ request }: { request: CreateJob }) {
  const kind = request.parameters ? "sweeps" : "jobs";
  const { origin } = location;
  return (
    <CodeForms
      forms={{
        Request: { label: `POST /v1/fine_tuning/${kind}`, write: () => jsonOf(request), hasKey: false },
        Python: { label: "The openai package", write: () => pythonOf(request, origin), hasKey: true },
        curl: { label: "A shell with curl", write: () => curlOf(request, origin), hasKey: true },
        CLI: { label: `tunery ${kind} create`, write: () => cliOf(request, origin), hasKey: true },
      }}
    />
  );
}
