"""Counts the tokens of a request."""

from dataclasses import dataclass

from core.serving.schemas.answers import PromptTokensDetails, Usage
from worker.server.sampling.answer_stream import Increment


@dataclass
class TokenCount:
    """The tokens of all answers together. A prompt counts once, however many answers it gets.

    With `only_prompt`, the client gets no token of the answer.
    """

    prompt: int
    only_prompt: bool = False
    completion: int = 0
    cached: int = 0

    def add(self, increment: Increment, is_first_answer: bool) -> None:
        self.completion += 0 if self.only_prompt else increment.tokens
        if is_first_answer:
            self.cached += increment.cached_tokens

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.prompt + self.completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self.cached),
        )
