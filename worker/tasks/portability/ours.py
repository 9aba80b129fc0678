"""Our own answers: the sampler on the CPU in fp32, with which the other runtimes are compared."""

from collections.abc import Sequence

import torch

from core.errors import JobError
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.engine.sampler.fast.computation import cache_bytes_for
from worker.engine.sampler.requests import GenerationRequest, Piece, Sampling
from worker.engine.sampler.sampler import Limits, Sampler
from worker.tasks.export.source import Source
from worker.tasks.portability.answers import NEW_TOKENS, TOP, Answer, Answered
from worker.tasks.portability.prompts import PromptSet

GREEDY = Sampling(NEW_TOKENS, temperature=0, logprobs=True, top_logprobs=TOP)


def base_in_fp32(source: Source) -> ResidentBase:
    """Load the base model as it was published, in fp32. Raises JobError."""
    entry = source.entry.model_copy(update={"dtype": "fp32", "quantization": None})
    return ResidentBase(entry, source.base_folder, "", torch.device("cpu"))


def our_answers(source: Source, base: ResidentBase, prompts: PromptSet) -> tuple[Answered, frozenset[int]]:
    """Return our answers, and the tokens that end an answer. Raises JobError."""
    sampler = Sampler(base, _limits(base, prompts.tokens))
    try:
        adapter = sampler.load_adapter(source.folder, source.adapter_id)
    except AdapterRefused as error:
        raise JobError("adapter_damaged", str(error)) from error
    for number, prompt in enumerate(prompts.tokens):
        sampler.submit(GenerationRequest(str(number), prompt, GREEDY, adapter))
    pieces: list[list[Piece]] = [[] for _ in prompts.tokens]
    while not sampler.idle:
        for piece in sampler.step():
            pieces[int(piece.request_id)].append(piece)
    chats = prompts.tokens if prompts.chats is not None else None
    return Answered([_answer(each, sampler.end_tokens) for each in pieces], chats), sampler.end_tokens


def _answer(pieces: Sequence[Piece], ends: frozenset[int]) -> Answer:
    if pieces[-1].error is not None:
        raise JobError("not_finite", pieces[-1].error)
    chosen = [piece.chosen for piece in pieces if piece.chosen is not None]
    return Answer.cut([each.token for each in chosen], [dict(each.top) for each in chosen], ends)


def _limits(base: ResidentBase, prompts: Sequence[Sequence[int]]) -> Limits:
    """Return limits with room for all prompts at once."""
    nbytes = cache_bytes_for(base, [len(prompt) + NEW_TOKENS for prompt in prompts])
    return Limits(cache_bytes=nbytes, max_running_slowly=1)
