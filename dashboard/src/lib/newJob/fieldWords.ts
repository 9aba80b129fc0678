/** The words for the API's options, and the groups in which the form shows the options of a training. */

const WORDS: Record<string, string> = {
  n_epochs: "Epochs",
  batch_size: "Batch size",
  learning_rate: "Learning rate",
  learning_rate_multiplier: "Learning rate multiplier",
  r: "Rank",
  init_r: "First rank",
  target_r: "Rank on average",
  lora_alpha: "Alpha, the adapter's scale",
  alpha: "Alpha, the adapter's scale",
  lora_dropout: "Dropout",
  use_rslora: "Scale by the root of the rank",
  use_dora: "Train direction and size apart (DoRA)",
  dynamic_rank: "Usable at every smaller rank",
  init_lora_weights: "First weights",
  target_modules: "Modules to adapt",
  exclude_modules: "Modules to leave out",
  layers_to_transform: "Layers to adapt",
  modules_to_save: "Modules to train as a whole",
  trainable_token_indices: "Tokens to train",
  ensure_weight_tying: "Train head and embedding as one",
  alora_invocation_tokens: "Tokens that invoke the adapter (aLoRA)",
  layers_pattern: "Name of the list of layers",
  rank_pattern: "Ranks of single modules",
  alpha_pattern: "Alphas of single modules",
  num_virtual_tokens: "Virtual tokens",
  num_generations: "Answers to each prompt",
  max_completion_tokens: "Longest answer, in tokens",
  loss_type: "How the loss weighs tokens",
  mask_truncated: "Learn nothing from truncated answers",
  stop_on_audit: "End the job if the audit falls while the reward rises",
  scale_rewards: "Divide advantages by their deviation",
  epsilon: "Lower bound of the ratio",
  epsilon_high: "Upper bound of the ratio",
  compute_multiplier: "Factor on the number of answers",
  eval_interval: "Steps between validations",
  max_episode_steps: "Most turns of the model in an answer",
  server_url: "URL",
  "hyperparameters.eval_samples": "Answers to each validation prompt",
  beta: "Beta, the weight of the reference",
  lr_scheduler_type: "Schedule of the learning rate",
  warmup_ratio: "Warmup",
  weight_decay: "Weight decay",
  max_grad_norm: "Largest gradient",
  loraplus_lr_ratio: "Learning rate of B over A (LoRA+)",
  max_length: "Longest row, in tokens",
  eval_steps: "Steps between evaluations",
  eval_samples: "Prompts that the model answers",
  eval_max_new_tokens: "Longest answer, in tokens",
  early_stopping_patience: "End early after",
  early_stopping_threshold: "Smallest improvement",
  load_best_model_at_end: "Publish the best checkpoint",
  deterministic: "Same adapter in any company",
  devices: "Devices",
  fsdp: "Spread the base model",
  quantization: "Precision of the frozen weights",
  seed: "Seed",
  row_losses: "Rows whose loss is measured",
  validation_split: "Rows held out for validation",
  copies: "Variants of each row",
  few_shot_order: "Shuffle the earlier turns",
  typing_noise: "Typing mistakes of the user",
  user_case: "The user in lower or upper case",
  system_prompts: "System prompts to choose from",
  label_order: "Labels to list backwards",
};

/**
 * Returns the option in the words of the field, such as "Rank"; an option without words of its own is spelt out. `path`
 * tells options of one name apart.
 */
export function fieldWords(name: string, path = name): string {
  const spelt = name.replaceAll("_", " ");
  return WORDS[path.split(".").slice(-2).join(".")] ?? WORDS[name] ?? spelt.charAt(0).toUpperCase() + spelt.slice(1);
}

interface TrainingGroup {
  title: string;
  names: readonly string[];
}

/** The groups of the training options. An option of a newer service goes into the last group. */
export const TRAINING_GROUPS: readonly TrainingGroup[] = [
  { title: "Schedule", names: ["lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm", "loraplus_lr_ratio"] },
  {
    title: "Evaluation and early end",
    names: [
      "eval_steps",
      "eval_samples",
      "eval_max_new_tokens",
      "early_stopping_patience",
      "early_stopping_threshold",
      "load_best_model_at_end",
    ],
  },
  { title: "Rows, precision and devices", names: [] },
];

/** Returns the title of the group of a training option. */
export function trainingGroupOf(name: string): string {
  const found = TRAINING_GROUPS.find(({ names }) => names.includes(name));
  return (found ?? TRAINING_GROUPS.at(-1))?.title ?? "";
}

/** The options that most jobs set. */
export const BASIC_OPTIONS: ReadonlySet<string> = new Set(["r", "target_r", "num_virtual_tokens"]);
export const BASIC_HYPERPARAMETERS: ReadonlySet<string> = new Set(["n_epochs"]);
export const LEARNING_RATE = "learning_rate";
