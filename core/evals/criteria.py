"""The criteria by which an eval judges: OpenAI's graders, and metrics that need no template.

A criterion gives each row a score. A row passes if its score reaches the criterion's threshold. `loss` and
`token_accuracy` judge how likely the model finds the row's own answer; all others judge what the model wrote.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from core.graders.schemas import (
    EndpointGrader,
    LabelModelGrader,
    MultiGrader,
    Name,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    Template,
    TextSimilarityGrader,
)
from core.options import Options

MAX_CRITERIA = 16
MAX_FIELDS = 64
OUTPUT, REFERENCE = "{{ sample.output_text }}", "{{ item.reference }}"

Threshold = Annotated[
    float | None, Field(description="The lowest score with which a row passes. Null: every judged row passes")
]
JudgedText = Annotated[Template, Field(description="The text to judge. Default: what the model wrote")]
ReferenceText = Annotated[Template, Field(description="What it should be. Default: the row's own answer")]


class TextSimilarity(TextSimilarityGrader):
    pass_threshold: Threshold = None


class Python(PythonGrader):
    pass_threshold: Threshold = None


class ScoreModel(ScoreModelGrader):
    pass_threshold: Threshold = None


class Multi(MultiGrader):
    pass_threshold: Threshold = None


class Loss(Options):
    """The mean negative log-likelihood of the row's learnt tokens, in nats, as training measures it.

    The mean over rows weighs each row by its number of these tokens. Lower is better.
    """

    type: Literal["loss"]
    name: Name = "loss"
    pass_threshold: Annotated[
        float | None,
        Field(description="The highest loss with which a row passes. Null: every judged row passes"),
    ] = None


class TokenAccuracy(Options):
    """The share of the row's learnt tokens that the model finds likeliest, given the right tokens before."""

    type: Literal["token_accuracy"]
    name: Name = "token_accuracy"
    pass_threshold: Threshold = None


class ExactMatch(Options):
    """1 if the text equals the reference, apart from white space around them; 0 otherwise."""

    type: Literal["exact_match"]
    name: Name = "exact_match"
    input: JudgedText = OUTPUT
    reference: ReferenceText = REFERENCE


class LabelF1(Options):
    """F1 by label, for texts that are a label each. The whole result is the mean over labels (macro F1)."""

    type: Literal["label_f1"]
    name: Name = "label_f1"
    input: JudgedText = OUTPUT
    reference: ReferenceText = REFERENCE


class FieldF1(Options):
    """F1 by field, for texts that are a JSON object each. The whole result counts all fields (micro F1).

    A field counts if its value is equal. `fields` names those that count; null counts all of the reference's.
    """

    type: Literal["field_f1"]
    name: Name = "field_f1"
    input: JudgedText = OUTPUT
    reference: ReferenceText = REFERENCE
    fields: Annotated[list[Name] | None, Field(min_length=1, max_length=MAX_FIELDS)] = None
    pass_threshold: Threshold = None


Criterion = Annotated[
    StringCheckGrader
    | TextSimilarity
    | Python
    | LabelModelGrader
    | ScoreModel
    | EndpointGrader
    | Multi
    | Loss
    | TokenAccuracy
    | ExactMatch
    | LabelF1
    | FieldF1,
    Field(discriminator="type"),
]
CRITERION: TypeAdapter[Criterion] = TypeAdapter(Criterion)

OF_THE_ROWS_ANSWER = ("loss", "token_accuracy")  # these need no sample, only a row of a dataset
ONCE_A_ROW = (*OF_THE_ROWS_ANSWER, "label_f1")  # these cannot judge several samples of a row
RIGHT_OR_WRONG = ("string_check", "label_model", "exact_match", "label_f1")
LOWER_IS_BETTER = ("loss",)


def tells_success(criterion: Criterion) -> bool:
    """Return whether a row can fail the criterion: without a threshold, every score passes."""
    return criterion.type in RIGHT_OR_WRONG or getattr(criterion, "pass_threshold", None) is not None


def gain(criterion: Criterion, base: float, tuned: float) -> float:
    """Return by how much the tuned model's score is better than the base's; negative if it is worse."""
    return base - tuned if criterion.type in LOWER_IS_BETTER else tuned - base
