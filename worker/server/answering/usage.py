"""Counts the tokens of a request."""

from dataclasses import dataclass

from core.serving.schemas.answers import CompletionTokensDetails, PromptTokensDetails, Usage
from worker.server.sampling.answer_stream import Increment


@dataclass
class TokenCount:
    """The tokens of all answers together. A prompt counts once, however many answers it gets.

    With `only_prompt`, the client gets no token of the answer. `accepted` and `rejected` are those of drafts,
    and `predicted` has those of them that the client has predicted, if it has predicted any.
    """

    prompt: int
    only_prompt: bool = False
    completion: int = 0
    cached: int = 0
    accepted: int = 0
    rejected: int = 0
    predicted: CompletionTokensDetails | None = None

    def add(self, increment: Increment, is_first_answer: bool) -> None:
        self.completion += 0 if self.only_prompt else increment.tokens
        if is_first_answer:
            self.cached += increment.cached_tokens
        for draft in increment.drafted:
            self.accepted += draft.accepted
            self.rejected += draft.rejected
            if self.predicted is not None and draft.is_predicted:
                self.predicted.accepted_prediction_tokens += draft.accepted
                self.predicted.rejected_prediction_tokens += draft.rejected

    @property
    def usage(self) -> Usage:
        usage = Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.prompt + self.completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self.cached),
        )
        if self.predicted is not None:
            usage.completion_tokens_details = self.predicted
        return usage

    @property
    def facts(self) -> dict[str, int]:
        """Return what the log and the metrics say about the request."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "accepted_draft_tokens": self.accepted,
            "rejected_draft_tokens": self.rejected,
            "cached_tokens": self.cached,
        }
