"""The graders that a client can declare, in OpenAI's form."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from core.endpoints.schemas import Address, Endpoint
from core.options import Options

MAX_TEXT = 65_536  # characters; the time to compare two texts can grow with the product of their lengths
MAX_COMPARED = 4 * MAX_TEXT  # characters of all texts that one run compares
MAX_FORMULA = 2_000  # characters
MAX_GRADERS = 32
MAX_GIVEN = 1024**2  # characters of the sample and the item that a Python grader is given, as JSON
MAX_SOURCE = 256 * 1024  # characters of a Python grader's source, and bytes as well
IMAGE_TAGS = ("2025-05-08",)  # OpenAI's images for Python graders
MAX_RATE = 10_000  # requests a second

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Template = Annotated[
    str, Field(max_length=MAX_TEXT, description="May contain {{ item.… }} and {{ sample.… }}")
]

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
    "chrf",
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
    source: Annotated[
        str,
        Field(
            max_length=MAX_SOURCE,
            description="Python that defines `grade(sample, item)`, which returns a number",
        ),
    ]
    image_tag: Annotated[
        str | None,
        Field(
            description="The tag of one of OpenAI's images, or null. It changes nothing: this server has none"
        ),
    ] = None


class InputText(Options):
    type: Literal["input_text"]
    text: Template


class OutputText(Options):
    type: Literal["output_text"]
    text: Template


class InputImage(Options):
    type: Literal["input_image"]
    image_url: Annotated[
        str, Field(description="A data URL. May contain {{ item.… }}, which may be the whole of it")
    ]
    detail: Literal["auto", "low", "high"] | None = None


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


ModelGrader = ScoreModelGrader | LabelModelGrader


class EndpointGrader(Endpoint):
    """A grader that asks a URL for the score of each sample, in Azure's form."""

    address_field: ClassVar[str] = "url"

    type: Literal["endpoint"]
    name: Name
    url: Address
    rate_limit: Annotated[
        int | None, Field(ge=1, le=MAX_RATE, description="The most requests per second. Null: no limit")
    ] = None
    pass_threshold: Annotated[
        float | None,
        Field(
            description="The lowest score with which a row of an eval passes. Null: every judged row passes"
        ),
    ] = None

    @property
    def most_per_second(self) -> int | None:
        """The rate limit."""
        return self.rate_limit


SingleGrader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | PythonGrader
    | ScoreModelGrader
    | LabelModelGrader
    | EndpointGrader,
    Field(discriminator="type"),
]


class MultiGrader(Options):
    """A grader whose score is a formula over the scores of other graders.

    `graders` maps the names in the formula to graders. OpenAI's types declare a single grader instead. A
    single grader works too; the formula then uses its own name.
    """

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
        """The graders by their names in the formula."""
        return self.graders if isinstance(self.graders, dict) else {self.graders.name: self.graders}


Grader = Annotated[
    StringCheckGrader
    | TextSimilarityGrader
    | PythonGrader
    | ScoreModelGrader
    | LabelModelGrader
    | EndpointGrader
    | MultiGrader,
    Field(discriminator="type"),
]
