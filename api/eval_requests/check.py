"""Checks whether the criteria of an eval can be used on this server, before any row is judged."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from api.eval_requests.endpoint_check import check_endpoint
from core.egress import Egress
from core.errors import InvalidRequest
from core.evals.criteria import Criterion, ExactMatch, FieldF1, LabelF1
from core.evals.data_sources import MOST_SEED
from core.graders.check import check, check_template
from core.graders.python.sandbox import Sandbox
from core.graders.schemas import (
    EndpointGrader,
    Grader,
    InputAudio,
    InputImage,
    InputText,
    LabelModelGrader,
    Message,
    ModelGrader,
    MultiGrader,
    OutputText,
    SamplingParams,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from core.images.parts import MAX_IN_ROW, UnusableImage, encoded_image
from core.serving.schemas.coherence import unusable_image

NAMES_THE_SAMPLE = re.compile(r"\{\{\s*sample\b")
SAMPLING_RANGES = {
    "max_completions_tokens": (1, 1_000_000),
    "seed": (-MOST_SEED, MOST_SEED),
    "temperature": (0, 2),
    "top_p": (0, 1),
}


class NamedModel(NamedTuple):
    """A model that a grader names, and the name's path in the request."""

    name: str
    param: str


def check_criteria(criteria: Sequence[Criterion], sandbox: Sandbox, param: str = "testing_criteria") -> None:
    """Raise InvalidRequest if a criterion can never be used, or if two have the same name.

    `sandbox` is where this server runs the code of Python graders.
    """
    names: set[str] = set()
    for index, criterion in enumerate(criteria):
        path = f"{param}.{index}"
        if criterion.name in names:
            raise InvalidRequest(
                f"Two criteria are named '{criterion.name[:64]}'. Give each of them a name of its own, since "
                "the name tells their results apart.",
                code="duplicate_name",
                param=f"{path}.name",
            )
        names.add(criterion.name)
        check_criterion(criterion, sandbox, path)


def check_criterion(criterion: Criterion | Grader, sandbox: Sandbox, path: str) -> None:
    """Raise InvalidRequest if a criterion, or a grader, can never be used. `path` is its place."""
    check(criterion, path, sandbox)
    for grader, where in _model_graders(criterion, path):
        _check_model_grader(grader, where)
    for template, where in _templates(criterion, path):
        check_template(template, where)


def check_input_messages(messages: Sequence[Message], param: str) -> None:
    """Raise InvalidRequest if a model could not be asked these messages, whatever the item is."""
    _check_contents(messages, param)
    for index, message in enumerate(messages):
        for template in _texts(message):
            path = f"{param}.{index}.content"
            check_template(template, path)
            if NAMES_THE_SAMPLE.search(template):
                raise _invalid("There is no `sample` before the model has answered: name `item` only.", path)


def check_endpoints(egress: Egress, grader: Criterion | Grader, param: str) -> None:
    """Raise InvalidRequest if no request may go to the endpoint of a grader, or of one of its parts.

    `param` is the grader's place in the request.
    """
    for part, where in _parts(grader, param):
        if isinstance(part, EndpointGrader):
            check_endpoint(egress, part, where)


def grader_models(criteria: Sequence[Criterion], param: str = "testing_criteria") -> Iterator[NamedModel]:
    """Yield the models that the graders name."""
    for index, criterion in enumerate(criteria):
        yield from models_of(criterion, f"{param}.{index}")


def models_of(criterion: Criterion | Grader, path: str) -> Iterator[NamedModel]:
    """Yield the models that a criterion, or a grader, names. `path` is its place in the request."""
    for grader, where in _model_graders(criterion, path):
        yield NamedModel(grader.model, f"{where}.model")


def _model_graders(criterion: Criterion | Grader, path: str) -> Iterator[tuple[ModelGrader, str]]:
    """Yield the graders of a criterion that ask a model, each with its path in the request."""
    for part, where in _parts(criterion, path):
        if isinstance(part, ModelGrader):
            yield part, where


def _parts(criterion: Criterion | Grader, path: str) -> Iterator[tuple[object, str]]:
    if not isinstance(criterion, MultiGrader):
        yield criterion, path
    elif isinstance(criterion.graders, dict):
        for name, part in criterion.graders.items():
            yield part, f"{path}.graders.{name}"
    else:
        yield criterion.graders, f"{path}.graders"


def _check_model_grader(grader: ModelGrader, path: str) -> None:
    if not grader.input:
        raise _invalid("The grader's model needs at least one message.", f"{path}.input")
    _check_contents(grader.input, f"{path}.input")
    if isinstance(grader, ScoreModelGrader) and grader.sampling_params is not None:
        _check_sampling(grader.sampling_params, f"{path}.sampling_params")
    if isinstance(grader, LabelModelGrader):
        if not grader.labels:
            raise _invalid("There are no labels to choose from.", f"{path}.labels")
        for label in grader.passing_labels:
            if label not in grader.labels:
                message = f"'{label[:64]}' is none of the 'labels', so no row could pass with it."
                raise _invalid(message, f"{path}.passing_labels")


def _check_sampling(params: SamplingParams, path: str) -> None:
    if params.reasoning_effort is not None:
        raise InvalidRequest(
            "'reasoning_effort' is not supported. The models on offer have no reasoning effort.",
            code="unsupported_parameter",
            param=f"{path}.reasoning_effort",
        )
    for name, (lowest, highest) in SAMPLING_RANGES.items():
        value = getattr(params, name)
        if value is not None and not lowest <= value <= highest:
            raise _invalid(f"'{name}' must be from {lowest} to {highest}.", f"{path}.{name}")


def _check_contents(messages: Sequence[Message], path: str) -> None:
    """Raise InvalidRequest for audio, for an image that no user sends, and for one that is no image."""
    images = 0
    for index, message in enumerate(messages):
        param = f"{path}.{index}.content"
        for part in _contents(message):
            if isinstance(part, InputAudio):
                raise InvalidRequest(
                    "The models of this server hear no audio. Write what is said as text.",
                    code="unsupported_parameter",
                    param=param,
                )
            if isinstance(part, InputImage):
                if message.role != "user":
                    raise _invalid("Only the messages of a user may have images.", param)
                _check_image(part.image_url, param)
                images += 1
                if images > MAX_IN_ROW:
                    raise _invalid(f"A request may have {MAX_IN_ROW} images. Show fewer.", param)


def _check_image(template: str, param: str) -> None:
    """Raise InvalidRequest for an image that cannot be used, whatever the row is."""
    if "{{" in template and not template.lower().startswith("http"):
        return
    try:
        encoded_image(template)
    except UnusableImage as error:
        raise unusable_image(error, param) from error


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", param=param)


def _templates(criterion: Criterion | Grader, path: str) -> Iterator[tuple[str, str]]:
    """Yield every template of a criterion, with its path in the request."""
    for part, where in _parts(criterion, path):
        match part:
            case StringCheckGrader() | TextSimilarityGrader() | ExactMatch() | LabelF1() | FieldF1():
                yield part.input, f"{where}.input"
                yield part.reference, f"{where}.reference"
            case ScoreModelGrader() | LabelModelGrader():
                for index, message in enumerate(part.input):
                    yield from ((text, f"{where}.input.{index}.content") for text in _texts(message))


def _texts(message: Message) -> Iterator[str]:
    for part in _contents(message):
        if isinstance(part, str):
            yield part
        elif isinstance(part, InputText | OutputText):
            yield part.text
        elif isinstance(part, InputImage):
            yield part.image_url


def _contents(message: Message) -> Sequence[object]:
    return message.content if isinstance(message.content, list) else [message.content]
