"""A request while it is computed: its tokens so far, and what decides about the next one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.chooser import Chooser
from worker.engine.sampler.draft import LONGEST_DRAFT, NO_DRAFT, Draft, Lookup
from worker.engine.sampler.requests import GenerationRequest, TokenChoice
from worker.engine.sampler.texts import GrowingText
from worker.rows.image_store import FIRST_IMAGE_TOKEN
from worker.rows.invocation import invoked_at

NEVER = 1 << 62  # the position of a token that no text has


@dataclass(eq=False)
class Running:
    """One request with its answer so far.

    `tokens` are those of prompt and answer; the keys and values of the first `computed` exist. The adapter
    acts from token `acts_from` on; as in PEFT, only the prompt can invoke it. The request
    ends at `longest` tokens at the latest. `blocks` hold the keys and values, `names` are those of the whole
    blocks. `cached` counts the prompt's tokens that others have computed. `last_step` is the number of the
    last step that has computed a token. `lookup` guesses what follows.
    """

    request: GenerationRequest
    longest: int
    chooser: Chooser
    text: GrowingText
    tokens: list[int]
    computed: int = 0
    cached: int = 0
    last_step: int = 0
    blocks: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    states: Sequence[Tensor] = ()
    kept_behind: frozenset[int] = frozenset()
    prompt_choices: list[TokenChoice | None] = field(default_factory=list)
    acts_from: int = field(init=False)
    lookup: Lookup = field(init=False)

    def __post_init__(self) -> None:
        adapter = self.request.adapter
        found = invoked_at(self.request.prompt, adapter.invocation) if adapter else NEVER
        self.acts_from = NEVER if found is None else found
        self.lookup = Lookup(self.request.prompt, self.request.prediction)

    def append(self, token: int) -> None:
        """Add the next token of the answer."""
        self.tokens.append(token)
        self.lookup.add(token)

    @property
    def made(self) -> int:
        """The number of tokens of the answer."""
        return len(self.tokens) - len(self.request.prompt)

    @property
    def missing(self) -> int:
        """The number of tokens that must be computed for the next one."""
        return len(self.tokens) - self.computed

    @property
    def missing_alike(self) -> int:
        """The number of these tokens that one chunk may have.

        It ends before the token from which on the adapter acts, and where states are kept.
        """
        ends = [end for end in (self.acts_from, *self.kept_behind) if end > self.computed]
        return min(self.missing, min(ends, default=NEVER) - self.computed)

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether the logits of the prompt's tokens are still needed."""
        wanted = self.request.sampling.prompt_logprobs is not None
        return wanted and len(self.prompt_choices) < len(self.request.prompt)


@dataclass(frozen=True)
class Chunk:
    """The tokens of one request that one step computes: those from `start` to `stop`.

    The last of them may be a draft, behind all tokens that are known.
    """

    running: Running
    start: int
    stop: int
    draft: Draft = NO_DRAFT

    @property
    def tokens(self) -> list[int]:
        return [*self.running.tokens[self.start : self.stop], *self.draft.tokens]

    @property
    def has_images(self) -> bool:
        """Whether one of the tokens stands for a part of an image."""
        return self.running.request.images is not None and max(self.tokens) >= FIRST_IMAGE_TOKEN

    @property
    def known_stop(self) -> int:
        """Return where the draft begins."""
        return self.stop - len(self.draft)

    @property
    def adapter(self) -> ServedAdapter | None:
        """The adapter that acts on all of the chunk's tokens; None if none acts on any of them."""
        return self.running.request.adapter if self.start >= self.running.acts_from else None

    @property
    def states(self) -> Sequence[Tensor]:
        """What the step before has left of the request; nothing at its start."""
        return self.running.states

    @property
    def is_last(self) -> bool:
        """Whether the next token follows from the chunk."""
        return self.known_stop == len(self.running.tokens)

    @property
    def most_drafted(self) -> int:
        """The most tokens that a draft behind the chunk may have: the step chooses one token more."""
        left = self.running.longest - len(self.running.tokens) - 1
        return min(left, LONGEST_DRAFT) if self.is_last else 0


@dataclass(frozen=True)
class Computed:
    """A chunk with the logits that are needed of it, [S, V].

    They are those of all its tokens, or of the last known one and the draft.
    """

    chunk: Chunk
    logits_SV: Tensor

    @property
    def running(self) -> Running:
        return self.chunk.running
