"""The report on one adapter: what each runtime makes of it, measured or by rule."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Runtime = Literal["peft", "vllm", "llama_cpp", "sglang", "lorax", "ollama", "mlx"]
Form = Literal["as_it_is", "lora", "mlx", "gguf_adapter", "merged", "gguf"]
Status = Literal["works", "differs", "fails", "unsupported", "not_measured"]

NAMES: dict[Runtime, str] = {
    "peft": "PEFT",
    "vllm": "vLLM",
    "llama_cpp": "llama.cpp",
    "sglang": "SGLang",
    "lorax": "LoRAX",
    "ollama": "Ollama",
    "mlx": "MLX",
}
MEASURED: tuple[Runtime, ...] = ("peft", "vllm", "llama_cpp")  # the others are judged by rules alone
FORM_NAMES: dict[Form, str] = {
    "as_it_is": "as it is",
    "lora": "export `lora`",
    "mlx": "export `mlx`",
    "gguf_adapter": "export `gguf_adapter`",
    "merged": "export `merged`",
    "gguf": "export `gguf`",
}


class Figures(BaseModel):
    """How the runtime's answers compare with those of our sampler, on the same prompts.

    The differences are absolute, in nats. They are null where nothing was compared.
    """

    prompts: Annotated[int, Field(description="The number of prompts")]
    greedy_equal: Annotated[int, Field(description="Prompts whose greedy answers are equal, token by token")]
    max_logprob_difference: Annotated[
        float | None,
        Field(description="The largest difference of the log-probabilities of the top tokens after a prompt"),
    ]
    first_difference: Annotated[
        float | None,
        Field(
            description="The largest difference of the log-probabilities at the first token in which two "
            "answers differ; null if no answer differs, or if a runtime does not give them"
        ),
    ]
    template_tokens_equal: Annotated[
        bool | None,
        Field(
            description="Whether the runtime renders the chats to the same tokens as the training did; null "
            "if the model has no chat template"
        ),
    ]


class Attempt(BaseModel):
    """One form of the adapter that a runtime was given."""

    form: Form
    loads: bool
    reason: Annotated[str | None, Field(description="Why it does not load, or what differs")]
    figures: Figures | None


class RuntimeReport(BaseModel):
    """What one runtime makes of the adapter.

    `works` and `differs` are about the answers, `fails` means that nothing loads. `unsupported` means that no
    form of the adapter fits the runtime. `not_measured`: this runtime can be measured, but no worker has
    measured the adapter in it; `needs` follows from a rule. Where `measured` is false, a status follows from
    a rule, whose origin `sources` name, or from `attempts`, if there are any.
    """

    runtime: Runtime
    name: str
    status: Status
    measured: bool
    version: Annotated[str | None, Field(description="The version of the runtime that was measured")] = None
    needs: Annotated[
        Form | None,
        Field(description="What the runtime loads: the adapter as it is, or an export; null for nothing"),
    ]
    figures: Figures | None = None
    reason: str
    sources: list[str]
    start_line: Annotated[str | None, Field(description="The command or the code that loads it")]
    attempts: Annotated[
        list[Attempt], Field(description="The forms that were measured, in the order of the attempts")
    ] = []


class Prompts(BaseModel):
    """Where the prompts of a measurement come from."""

    count: int
    from_validation_file: Annotated[int, Field(description="Prompts that are rows of the validation file")]
    from_general_list: Annotated[int, Field(description="Prompts of the list that every measurement can ask")]
    new_tokens: Annotated[int, Field(description="The most tokens of an answer")]


class Measurement(BaseModel):
    """What a worker has measured."""

    prompts: Prompts
    runtimes: list[RuntimeReport]
