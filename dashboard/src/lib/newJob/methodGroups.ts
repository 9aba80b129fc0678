/** The methods of adaptation in groups, as a reader looks for them. */

import type { Method } from "@/lib/schemas/method";

const GROUPS: readonly (readonly [title: string, ids: readonly string[]])[] = [
  ["Low rank: the usual choice", ["lora", "adalora"]],
  ["Other products of small matrices", ["loha", "lokr", "miss", "randlora", "gralora", "delora"]],
  ["Rotations", ["oft", "boft", "hra", "road"]],
  ["Changes that depend on the weight", ["hira", "glora", "peanut", "deft"]],
  ["Very few numbers, shared by the layers", ["vblora", "unilora", "tinylora"]],
  ["Few numbers, spread over each weight", ["fourierft", "waveft", "c3a", "shira", "supertuning"]],
  ["Vectors, norms and single tokens", ["ia3", "vera", "ln_tuning", "beft", "trainable_tokens"]],
  ["Trained prompts", ["prefix_tuning", "prompt_tuning", "p_tuning"]],
  ["The whole model", ["full"]],
];

export interface MethodGroup {
  title: string;
  methods: Method[];
}

/** Returns the methods that have every typed word in their name or their description, in groups. */
export function methodGroups(methods: readonly Method[], typed: string): MethodGroup[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const found = methods.filter(({ id, title, good_for, paper }) => {
    const all = `${id} ${title} ${good_for} ${paper?.title ?? ""}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
  const known = new Set(GROUPS.flatMap(([, ids]) => ids));
  const groups = GROUPS.map(([title, ids]) => ({ title, methods: found.filter(({ id }) => ids.includes(id)) }));
  const others = { title: "Others", methods: found.filter(({ id }) => !known.has(id)) };
  return [...groups, others].filter((group) => group.methods.length);
}
