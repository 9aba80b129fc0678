/** The address of the playground: which models answer, and with which settings. */

export const MOST_MODELS = 4;

export interface PlaygroundSearch {
  /** Names of models with commas between them. */
  models?: string;
  /** The job whose first validation row is offered as a prompt. */
  job?: string;
  system?: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
  /** A JSON Schema that the answers must follow, as text. */
  schema?: string;
  /** Whether the answers are stored, so that they can be rated. */
  store?: true;
}

const TEXTS = ["models", "job", "system", "schema"] as const;
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"] as const;

export function parsePlaygroundSearch(raw: Record<string, unknown>): PlaygroundSearch {
  const texts = TEXTS.flatMap((name) => (typeof raw[name] === "string" && raw[name] ? [[name, raw[name]]] : []));
  const numbers = NUMBERS.flatMap((name) => (typeof raw[name] === "number" ? [[name, raw[name]]] : []));
  return { ...Object.fromEntries([...texts, ...numbers]), ...(raw.store === true && { store: true as const }) };
}

/** Returns the names of the models, each once. */
export function modelsOf(models: string | undefined): string[] {
  const names = (models ?? "").split(",").map((name) => name.trim());
  return [...new Set(names.filter(Boolean))].slice(0, MOST_MODELS);
}

export function withModel(models: string | undefined, name: string): string {
  return modelsOf([models ?? "", name].join()).join();
}

export function withoutModel(models: string | undefined, name: string): string | undefined {
  return modelsOf(models).filter((one) => one !== name).join() || undefined;
}
