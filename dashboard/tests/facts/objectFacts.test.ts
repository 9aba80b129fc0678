import { expect, test } from "vitest";

import { partsOf } from "@/api/files/uploadParts";
import { parseSettingsSearch } from "@/lib/addresses/settingsSearch";
import { snippetsOf } from "@/lib/facts/adapterFacts";
import { actorOf, detailsOf } from "@/lib/facts/auditFacts";
import { checkOf } from "@/lib/facts/fileFacts";
import { daysOf, heights } from "@/lib/facts/usage";
import { deliveryWords } from "@/lib/facts/webhookFacts";
import { memoryPercent, workerName } from "@/lib/facts/workerFacts";
import type { ApiKey, AuditLog, Delivery, FileObject, UsageBucket, Worker } from "@/types/api";

test("the parts of a file follow each other and cover the whole file", () => {
  expect(partsOf(25, 10)).toEqual([[0, 10], [10, 20], [20, 25]]);
  expect(partsOf(20, 10)).toEqual([[0, 10], [10, 20]]);
});

test("a model card's code is labelled by the library that loads it, and the rest of the card is left out", () => {
  const card = [
    "---", "license: mit", "---", "# A `name`",
    "```python", "from peft import PeftModel", "from transformers import X", "```",
    "words",
    "```shell", "vllm serve x \\", "  --enable-lora", "```",
    "| a | b |",
  ].join("\n");
  expect(snippetsOf(card)).toEqual([
    { label: "PEFT, on transformers", code: "from peft import PeftModel\nfrom transformers import X" },
    { label: "vLLM", code: "vllm serve x \\\n  --enable-lora" },
  ]);
  expect(snippetsOf("")).toEqual([]);
});

test("a file shows the outcome of its check", () => {
  const file = (fields: object) => ({ purpose: "fine-tune", rows: 1200, kind: "preference", ...fields }) as FileObject;
  expect(checkOf(file({}))).toBe("1,200 pairs of answers");
  expect(checkOf(file({ kind: null }))).toBe("1,200 chat rows");
  expect(checkOf(file({ kind: "chat", rows: 1 }))).toBe("1 chat row");
  expect(checkOf(file({ kind: "of a newer release" }))).toBe("1,200 rows");
  expect(checkOf(file({ purpose: "fine-tune-results", rows: null }))).toBe("made by a job");
  expect(checkOf(file({ purpose: "user_data", rows: null }))).toBe("not checked");
});

test("usage is added up over projects, and bars are in proportion", () => {
  const result = { trained_tokens: 5, device_seconds: 1.5 };
  const buckets = [{ start_time: 86_400, results: [result, result] }, { start_time: 172_800, results: [] }];
  const days = daysOf(buckets as unknown as UsageBucket[]);
  expect(days).toEqual([{ start: 86_400, tokens: 10, deviceSeconds: 3 }, { start: 172_800, tokens: 0, deviceSeconds: 0 }]);
  expect(heights([1, 4, 0])).toEqual([0.25, 1, 0]);
  expect(heights([0, 0])).toEqual([0, 0]);
});

test("the audit log shows the names of existing keys, and the ids of others", () => {
  const entry = (actor: object, details: object | null = null) => ({ actor, details }) as AuditLog;
  const keys = [{ id: "k1", name: "ci" }] as ApiKey[];
  expect(actorOf(entry({ type: "api_key", api_key: { id: "k1" } }), keys)).toBe("ci");
  expect(actorOf(entry({ type: "api_key", api_key: { id: "k2" } }), keys)).toBe("key k2");
  expect(actorOf(entry({ type: "operator", api_key: null }), keys)).toBe("operator, on the command line");
  expect(detailsOf(entry({}, { quotas: { running_jobs: 2 } }))).toBe("quotas.running_jobs 2");
});

test("a delivery shows its outcome", () => {
  const delivery = (fields: object) => ({ status: "pending", attempts: 0, response_code: null, error: null, ...fields }) as Delivery;
  expect(deliveryWords(delivery({}))).toBe("pending");
  expect(deliveryWords(delivery({ attempts: 3, response_code: 500 }))).toBe("pending, tried 3 times: answered 500");
  expect(deliveryWords(delivery({ status: "failed", attempts: 1, error: "no answer" }))).toBe("failed: no answer");
});

test("a worker without a host gets its name from the end of its id, because beginnings may be equal", () => {
  const worker = (fields: object) => ({ id: "01a2166025c8754c88035c32f615e5d2", host: null, ...fields }) as Worker;
  expect(workerName(worker({}))).toBe("Worker 15e5d2");
  expect(workerName(worker({ host: "gpu-1" }))).toBe("gpu-1");
  expect(memoryPercent(worker({ device: { memory_bytes: 0, memory_used_bytes: 0 } }))).toBe(0);
});

test("an unknown part of the settings becomes the first part", () => {
  expect(parseSettingsSearch({ part: "usage" })).toEqual({ part: "usage" });
  expect(parseSettingsSearch({ part: "keys" })).toEqual({});
  expect(parseSettingsSearch({ part: "<script>" })).toEqual({});
});
