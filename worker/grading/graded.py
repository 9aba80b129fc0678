"""The grade of a sample. This module needs nothing of what grades: trainers import it at their start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

PARSE_FAULT: Final = "sample_parse_error"
TOOL_FAULT: Final = "tool_error"


@dataclass(frozen=True)
class Graded:
    """The grade of one sample.

    With a `fault`, the score is 0, and `message` is a sentence for the client. The fault
    `sample_parse_error` is the sample's own: it is not the JSON that a grader reads. With any other fault,
    the grader has failed, which says nothing of the sample. `samples` has what the models of graders wrote,
    by their graders' names. A teacher gives no score: `logprobs` has log p of each token of its sample, in
    nats.
    """

    score: float
    fault: str | None = None
    message: str | None = None
    samples: dict[str, dict[str, Any]] | None = None
    logprobs: Sequence[float] | None = None

    @property
    def grader_failed(self) -> bool:
        """Whether the fault is the grader's, and not that of a sample that is not the JSON it should be."""
        return self.fault not in (None, PARSE_FAULT)

    @property
    def known_score(self) -> float | None:
        """The score; None if the grader has failed, which says nothing about the sample."""
        return None if self.grader_failed else self.score
