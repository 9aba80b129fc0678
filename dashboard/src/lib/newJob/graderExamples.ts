/** Graders to start from, and what a run of a grader found, in words. */

import { significant, spoken } from "@/lib/text/format";
import type { Grader, GraderRun } from "@/types/api";

const ANSWER = "{{ sample.output_text }}";
const REFERENCE = "{{ item.reference }}";

const SOURCE = `def grade(sample, item):
    text = sample["output_text"].strip()
    if text == item["reference"]:
        return 1.0
    return 0.5 if item["reference"] in text else 0.0
`;

/** Returns a grader of each type, by the words of its choice. `model` judges where a model is asked. */
export function graderExamples(model: string): Record<string, Grader> {
  const exact = { type: "string_check", name: "exact", input: ANSWER, reference: REFERENCE, operation: "eq" } as const;
  const similar = { type: "text_similarity", name: "similar", input: ANSWER, reference: REFERENCE, evaluation_metric: "fuzzy_match" } as const;
  const question = `Question: {{ item.messages[0].content }}\nAnswer: ${ANSWER}\nHow good is the answer, from 0 to 10?`;
  return {
    "Equal to a key of the row (string_check)": exact,
    "Similar to a key of the row (text_similarity)": similar,
    "Judged by a model (score_model)": { type: "score_model", name: "judge", model, input: [{ role: "user", content: question }], range: [0, 10] },
    "Your own code (python)": { type: "python", name: "code", source: SOURCE },
    "A formula over graders (multi)": { type: "multi", name: "both", graders: { exact, similar }, calculate_output: "0.7 * exact + 0.3 * similar" },
  };
}

/** Says which reward a run gave, by which parts, and why it gave none. */
export function runWords({ reward, sub_rewards, metadata }: GraderRun): string {
  const failures = Object.entries(metadata.errors).flatMap(([name, value]) => {
    if (value !== true) return [];
    const details = metadata.errors[`${name}_details` as keyof typeof metadata.errors];
    return [typeof details === "string" ? details : spoken(name)];
  });
  if (failures.length) return `No reward: ${failures.join("; ")}`;
  const parts = Object.entries(sub_rewards).map(([name, score]) => `${name} ${significant(score)}`);
  return `Reward ${significant(reward)}${parts.length ? `, of ${parts.join(" and ")}` : ""}`;
}
