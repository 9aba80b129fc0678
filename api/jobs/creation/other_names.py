"""Other programs' names for parameters and values of a job, with hints that say their names here."""

from collections.abc import Mapping

from pydantic.config import JsonDict

from core.objectives.policy_losses import NAMES as POLICY_LOSSES
from core.objectives.registry import OBJECTIVES
from core.options import OTHER_NAMES

QLORA = 'Take the adapter "lora", and set \'training.quantization\' to "nf4"'
EIGHT_BITS = 'Take the adapter "lora", and set \'training.quantization\' to "int8"'
WHOLE_MODEL = 'Take the adapter "full", which trains all weights'
OBJECTIVE = "This is an objective: set 'method.type' to \"{}\""
INITIAL = 'Take the adapter "lora", and set \'adapter.init_lora_weights\' to "{}"'
OF_LORA = "Take the adapter \"lora\", and set 'adapter.{}' to true"
AN_ADAPTER = "This is an adapter: set 'adapter.type' to \"{}\", and leave 'method' out"
REINFORCEMENT = 'It is called "reinforcement" here'
DISTILLATION = 'It is called "distillation" here'
LOSS_TYPE = "method.reinforcement.hyperparameters.loss_type"
POLICY_LOSS = f"{REINFORCEMENT}. Set '{LOSS_TYPE}' to \"{{}}\""
SUPERVISED = "It is called \"supervised\" here, which is also what a job does without 'method'"
BITS_4, BITS_8 = 'It is called "nf4" here', 'It is called "int8" here'
PUBLISHED = 'Set it to "none": the weights stay as they were published'
DATA_TYPE = "The worker chooses the data type that is best on its device; leave it out"
INSTEAD = "Set '{}' instead"
EPOCHS, BATCH = "hyperparameters.n_epochs", "hyperparameters.batch_size"

ADAPTERS = {
    **dict.fromkeys(("qlora", "lora_4bit", "lora4bit", "4bit", "q_lora"), QLORA),
    **dict.fromkeys(("lora_8bit", "lora8bit", "8bit"), EIGHT_BITS),
    **dict.fromkeys(
        ("full_finetune", "full_finetuning", "full_fine_tuning", "full_parameter", "fft", "finetune"),
        WHOLE_MODEL,
    ),
    "dora": OF_LORA.format("use_dora"),
    "rslora": OF_LORA.format("use_rslora"),
    **dict.fromkeys(
        ("loraplus", "lora_plus", "lora+"),
        "Take the adapter \"lora\", and set 'training.loraplus_lr_ratio', such as to 16",
    ),
    **dict.fromkeys(
        ("alora", "activated_lora"),
        "Take the adapter \"lora\", and set 'adapter.alora_invocation_tokens' to the tokens that invoke it",
    ),
    "dylora": OF_LORA.format("dynamic_rank"),
    **{name: INITIAL.format(name) for name in ("pissa", "olora", "eva", "corda", "loftq", "lora_ga")},
    **dict.fromkeys(("prefix", "prefixtuning"), 'It is called "prefix_tuning" here'),
    **dict.fromkeys(("prompt", "prompttuning", "soft_prompt"), 'It is called "prompt_tuning" here'),
    **dict.fromkeys(("ptuning", "p_tuning_v1"), 'It is called "p_tuning" here'),
    "sft": OBJECTIVE.format("supervised"),
    **{name: OBJECTIVE.format(name) for name in OBJECTIVES},
}
"""The keys are names in lower case, with `_` for spaces and hyphens."""

METHODS = {
    **dict.fromkeys(("sft", "supervised_fine_tuning", "supervised_finetuning", "instruction"), SUPERVISED),
    **dict.fromkeys(("qlora", "lora_4bit"), f"{QLORA}. Leave 'method' out"),
    **dict.fromkeys(("full", "full_finetune", "full_finetuning"), f"{WHOLE_MODEL}. Leave 'method' out"),
    **{name: AN_ADAPTER.format(name) for name in ("lora", "adalora", "ia3", "loha", "lokr", "oft")},
    "dora": f"{OF_LORA.format('use_dora')}. Leave 'method' out",
    **dict.fromkeys(("rlhf", "rl", "rft", "reinforce", "rloo", "reinforcement_learning"), REINFORCEMENT),
    **{name: POLICY_LOSS.format(name) for name in POLICY_LOSSES},
    **dict.fromkeys(
        ("distill", "gkd", "minillm", "opd", "on_policy_distillation", "knowledge_distillation"), DISTILLATION
    ),
    "ppo": f"{POLICY_LOSS.format('grpo')}, which clips as PPO does and needs no value model",
}

QUANTIZATIONS = {
    **dict.fromkeys(("4bit", "4_bit", "int4", "fp4", "bnb_4bit", "qlora", "4"), BITS_4),
    **dict.fromkeys(("8bit", "8_bit", "fp8", "bnb_8bit", "8"), BITS_8),
    **dict.fromkeys(("bf16", "fp16", "fp32", "16bit", "false"), PUBLISHED),
}

TRAINING = {
    **dict.fromkeys(("num_train_epochs", "num_epochs", "epochs", "n_epochs"), INSTEAD.format(EPOCHS)),
    **dict.fromkeys(
        ("per_device_train_batch_size", "train_batch_size", "micro_batch_size", "batch_size"),
        INSTEAD.format(BATCH),
    ),
    "gradient_accumulation_steps": f"'{BATCH}' is the number of rows of a whole step; leave it out",
    "gradient_checkpointing": "The worker chooses what to compute again, by its memory; leave it out",
    **dict.fromkeys(("load_in_4bit", "use_qlora"), "Set 'training.quantization' to \"nf4\" instead"),
    "load_in_8bit": "Set 'training.quantization' to \"int8\" instead",
    **dict.fromkeys(("bf16", "fp16", "dtype", "torch_dtype"), DATA_TYPE),
    "lr": INSTEAD.format("training.learning_rate"),
    **dict.fromkeys(("max_seq_length", "max_seq_len", "cutoff_len"), INSTEAD.format("training.max_length")),
    "warmup_steps": INSTEAD.format("training.warmup_ratio"),
    "optim": INSTEAD.format("training.optimizer"),
    "report_to": INSTEAD.format("integrations"),
    "seed": "Set 'seed' of the request instead",
    **dict.fromkeys(("lora_r", "lora_rank"), INSTEAD.format("adapter.r")),
    "lora_alpha": INSTEAD.format("adapter.lora_alpha"),
}

ADAPTER = {
    **ADAPTERS,
    **dict.fromkeys(("rank", "lora_r", "lora_rank"), INSTEAD.format("adapter.r")),
    "alpha": INSTEAD.format("adapter.lora_alpha"),
    "dropout": INSTEAD.format("adapter.lora_dropout"),
    **dict.fromkeys(("quantization", "load_in_4bit"), INSTEAD.format("training.quantization")),
}

HYPERPARAMETERS = {
    **dict.fromkeys(("learning_rate", "lr"), INSTEAD.format("training.learning_rate")),
    **dict.fromkeys(("epochs", "num_epochs", "num_train_epochs"), INSTEAD.format(EPOCHS)),
    **dict.fromkeys(("rank", "r", "lora_r", "lora_rank"), INSTEAD.format("adapter.r")),
}


def _of_sampling(method: str, *beside: str) -> dict[str, str]:
    """Return hints for the hyperparameters of a method that samples answers, which lack `beside`."""
    own = f"method.{method}.hyperparameters"
    return {
        **HYPERPARAMETERS,
        **dict.fromkeys(
            ("group_size", "n", "n_samples", "num_samples", "rollout_n", "samples_per_prompt"),
            INSTEAD.format(f"{own}.num_generations"),
        ),
        **dict.fromkeys(
            ("max_tokens", "max_new_tokens", "max_completion_length", "max_response_length"),
            INSTEAD.format(f"{own}.max_completion_tokens"),
        ),
        **dict.fromkeys(("eval_steps", "eval_every"), INSTEAD.format(f"{own}.eval_interval")),
        "temperature": "Answers are sampled with temperature 1, so that the model learns from what it does",
        **dict.fromkeys(("beta", "kl_coef", "kl_loss_coef"), "No loss here has a term of the KL divergence"),
        "loss": INSTEAD.format(f"{own}.loss_type"),
        **{name: f"It stands beside 'hyperparameters', as 'method.{method}.{name}'" for name in beside},
    }


NAMES: Mapping[str, Mapping[str, str]] = {
    "adapter.type": ADAPTERS,
    "method.type": METHODS,
    "training.quantization": QUANTIZATIONS,
    "training": TRAINING,
    "adapter": ADAPTER,
    "hyperparameters": HYPERPARAMETERS,
    **{f"method.{objective}.hyperparameters": HYPERPARAMETERS for objective in OBJECTIVES},
    "method.reinforcement.hyperparameters": _of_sampling(
        "reinforcement", "grader", "audit_grader", "tools", "max_episode_steps"
    ),
    "method.reinforcement": dict.fromkeys(
        ("max_turns", "max_steps", "max_tool_calling_iterations", "max_assistant_turns"),
        INSTEAD.format("method.reinforcement.max_episode_steps"),
    ),
    "method.distillation.hyperparameters": _of_sampling("distillation", "teacher"),
}
"""The keys are parameters with a wrong value, or with an unknown parameter inside. Each has hints."""

IN_THE_SCHEMA: JsonDict = {OTHER_NAMES: {path: {**hints} for path, hints in NAMES.items()}}
