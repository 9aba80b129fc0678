import { askStream, cutOff } from "@/api/client";
import { Refused, Unreachable } from "@/api/failures";
import { eventReader } from "@/api/live/eventStream";
import type { Chunk } from "@/lib/chat/answer";
import type { ChatRequest } from "@/lib/chat/chatRequest";

const LIKELY = 5; // tokens that are shown beside each token
const END = "[DONE]";

/**
 * Calls `onChunk` for each chunk of a model's answer, until the answer has ended. Raises Refused if the model does not
 * answer, or fails in the middle, and Unreachable if the stream breaks.
 */
export async function streamAnswer(request: ChatRequest, onChunk: (chunk: Chunk) => void, signal: AbortSignal): Promise<void> {
  const streamed = { ...request, stream: true, stream_options: { include_usage: true }, logprobs: true, top_logprobs: LIKELY };
  const headers = { "content-type": "application/json" };
  const response = await askStream("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(streamed), signal });
  if (!response.body) throw new Unreachable();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const dataIn = eventReader();
  for (;;) {
    const { done, value } = await reader.read().catch(cutOff(signal));
    if (done) throw new Unreachable();
    for (const data of dataIn(value)) {
      if (data === END) return;
      onChunk(chunkOf(data));
    }
  }
}

function chunkOf(data: string): Chunk {
  const chunk = JSON.parse(data) as Chunk & { error?: object };
  if (chunk.error) throw Refused.from(500, chunk);
  return chunk;
}
