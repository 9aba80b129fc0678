import { type ChatRequest, cliOf, curlOf, pythonOf } from "@/lib/chat/chatRequest";

import { CodeForms } from "./CodeForms";

/** A request for an answer in each form in which it can be sent. */
export function ChatCode({ request }: { request: ChatRequest }) {
  const { origin } = location;
  return (
    <CodeForms
      forms={{
        Python: { label: "The openai package", write: () => pythonOf(request, origin), hasKey: true },
        curl: { label: "A shell with curl", write: () => curlOf(request, origin), hasKey: true },
        CLI: { label: "tunery chat", write: () => cliOf(request, origin), hasKey: true },
        Request: { label: "POST /v1/chat/completions", write: () => JSON.stringify(request, null, 2), hasKey: false },
      }}
    />
  );
}
