"""A request for a composition, in the words of PEFT's `add_weighted_adapter`, and what a task keeps of it."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.compositions.methods import Criterion, Method, SignMethod, decomposes, elects_signs, prunes
from core.jobs.ancestor import Ancestor
from core.methods.method import MAX_RANK, Seed
from core.options import Options, Suffix

MAX_ADAPTERS, MAX_WEIGHT = 16, 100.0
MAX_FILES, MAX_ROWS, MAX_TRIALS = 8, 512, 64
MAX_JUDGED_ROWS = 8192  # of one search: enough for 8 files with the usual rows and trials
USUAL_DENSITY = 0.5

Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]


class ComposeOptions(Options):
    """What the parts of a request have in common: no unknown option, and numbers that may be whole."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class WeightedAdapter(ComposeOptions):
    """One part of a composition, and its weight."""

    adapter: Annotated[str, Field(min_length=1, max_length=512)]
    """A fine-tuned model, a checkpoint, an alias of one model, or an adapter's id"""
    weight: Weight = 1.0
    """A negative weight takes away what the adapter has learnt"""


class WeightSearch(ComposeOptions):
    """A search for the weights that are best on rows of files. It begins with the given weights."""

    files: Annotated[list[str], Field(min_length=1, max_length=MAX_FILES)]
    """Ids of files with chat rows, such as one for each task. The mean over the files counts"""
    rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 64
    """Rows of each file that are used, drawn by `seed`"""
    trials: Annotated[int, Field(ge=2, le=MAX_TRIALS)] = 12
    """Sets of weights that are tried, with the given ones"""
    criterion: Criterion = "loss"
    """What is best: the lowest loss, the highest share of learnt tokens that are the likeliest ones, or the
    highest share of rows of which all learnt tokens are, so that a greedy answer equals them. Among equal
    shares the loss decides"""


class ComposeRequest(ComposeOptions):
    """A request to compose LoRA adapters of one base model into one adapter, as PEFT does.

    The options have PEFT's names and meanings. `cat`, `svd` and all methods that end in `_svd` work on the
    updates of the weights, and take adapters of different ranks. The others work on A and B themselves, and
    need adapters of one rank. The adapters may have different target modules.
    """

    adapters: Annotated[list[WeightedAdapter], Field(min_length=1, max_length=MAX_ADAPTERS)]
    method: Method = "svd"
    density: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the values that `ties`, `dare` and `magnitude_prune` keep; null is 0.5"""
    majority_sign_method: SignMethod | None = None
    """How `ties` and `dare_ties` elect a sign: by the `total` of the values, or by how many have it. Null is
    `total`"""
    svd_rank: Annotated[int, Field(ge=1, le=MAX_RANK)] | None = None
    """The rank of the result of `svd` and the methods that end in `_svd`; null is the largest rank of the
    adapters"""
    svd_clamp: Annotated[float, Field(gt=0, le=1)] | None = None
    """The quantile at which these methods clamp the values of A and B; null does not clamp"""
    suffix: Suffix | None = None
    """A part of the model's name"""
    seed: Seed | None = None
    """Decides what `dare` drops, and which rows a search uses. Without one, the server draws it"""
    search: WeightSearch | None = None


class Composition(BaseModel):
    """A composition as its task keeps it: the request with every default resolved, and what it names.

    `parents` are the adapters of the request in their order, with their weights.
    """

    request: ComposeRequest
    base_model: str
    parents: Sequence[Ancestor]


def contradictions(asked: ComposeRequest) -> Iterator[tuple[str, str]]:
    """Yield `(field, reason)` for each option that the method does not have."""
    has = {
        "density": prunes(asked.method),
        "majority_sign_method": elects_signs(asked.method),
        "svd_rank": decomposes(asked.method),
        "svd_clamp": decomposes(asked.method),
    }
    for name, is_option in has.items():
        if getattr(asked, name) is not None and not is_option:
            yield name, f"it is not an option of the method '{asked.method}'. Leave it out"


def resolved(asked: ComposeRequest, seed: int) -> ComposeRequest:
    """Return the request with its defaults, which depend on the method, and with a seed."""
    return asked.model_copy(
        update={
            "density": asked.density or (USUAL_DENSITY if prunes(asked.method) else None),
            "majority_sign_method": asked.majority_sign_method
            or ("total" if elects_signs(asked.method) else None),
            "seed": seed if asked.seed is None else asked.seed,
        }
    )
