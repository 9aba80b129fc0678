"""Graders as clients declare them, and what running one tells: OpenAI's shapes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.options import Options

MAX_TEXT = 65_536  # characters: comparing two texts may cost the product of their lengths
MAX_FORMULA = 2_000
MAX_GRADERS = 32

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Template = Annotated[str, Field(max_length=MAX_TEXT, description="May hold {{ item.… }} and {{ sample.… }}")]

Metric = Literal[
    "cosine",
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class StringCheckGrader(Options):
    type: Literal["string_check"]
    name: Name
    input: Template
    reference: Template
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarityGrader(Options):
    type: Literal["text_similarity"]
    name: Name
    input: Template
    reference: Template
    evaluation_metric: Metric


class PythonGrader(Options):
    type: Literal["python"]
    name: Name
    source: Text
    image_tag: str | None = None


class InputText(Options):
    type: Literal["input_text"]
    text: Template


class OutputText(Options):
    type: Literal["output_text"]
    text: Template


class InputImage(Options):
    type: Literal["input_image"]
    image_url: str
    detail: str | None = None


class Audio(Options):
    data: str
    format: Literal["mp3", "wav"]


class InputAudio(Options):
    type: Literal["input_audio"]
    input_audio: Audio


ContentPart = Annotated[InputText | OutputText | InputImage | InputAudio, Field(discriminator="type")]


class Message(Options):
    role: Literal["user", "assistant", "system", "developer"]
    content: Template | ContentPart | list[Template | ContentPart]
    type: Literal["message"] | None = None


class SamplingParams(Options):
    max_completions_tokens: int | None = None
    reasoning_effort: str | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None


class ScoreModelGrader(Options):
    type: Literal["score_model"]
    name: Name
    model: str
    input: list[Message]
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    sampling_params: SamplingParams | None = None


class LabelModelGrader(Options):
    type: Literal["label_model"]
    name: Name
    model: str
    input: list[Message]
    labels: list[str]
    passing_labels: list[str]


SingleGrader = Annotated[
    StringCheckGrader | TextSimilarityGrader | PythonGrader | ScoreModelGrader | LabelModelGrader,
    Field(discriminator="type"),
]


class MultiGrader(Options):
    """`graders` maps the names in the formula to graders. OpenAI's types say a single one: that works too,
    under its own name."""

    type: Literal["multi"]
    name: Name
    graders: SingleGrader | Annotated[dict[str, SingleGrader], Field(min_length=1, max_length=MAX_GRADERS)]
    calculate_output: Annotated[
        str,
        Field(
            max_length=MAX_FORMULA,
            description="Arithmetic over the graders' names: + - * / ^, and min, max, abs, floor, ceil, exp, "
            "sqrt, log",
        ),
    ]

    @property
    def by_name(self) -> dict[str, Any]:
        return self.graders if isinstance(self.graders, dict) else {self.graders.name: self.graders}


Grader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | PythonGrader
    | ScoreModelGrader
    | LabelModelGrader
    | MultiGrader,
    Field(discriminator="type"),
]


class ValidateGrader(BaseModel):
    grader: Grader


class RunGrader(BaseModel):
    model_config = ConfigDict(strict=True)

    grader: Grader
    model_sample: Annotated[Text, Field(description="What a model wrote: `sample.output_text`")]
    item: Annotated[Any, Field(description="A row of the dataset: `item`")] = None


class ValidatedGrader(BaseModel):
    grader: Grader


class RunErrors(BaseModel):
    """What went wrong. Those that speak of a model or of Python never happen here."""

    formula_parse_error: bool = False
    invalid_variable_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_server_error: bool = False
    model_grader_server_error_details: str | None = None
    other_error: bool = False
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False


class RunMetadata(BaseModel):
    name: str
    type: str
    errors: RunErrors
    execution_time: Annotated[float, Field(description="Seconds")]
    scores: dict[str, float]
    token_usage: int | None = None
    sampled_model_name: str | None = None


class GraderRun(BaseModel):
    """`reward` is 0 where an error is true; `sub_rewards` are those of a `multi` grader's parts."""

    reward: float
    metadata: RunMetadata
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, int]
