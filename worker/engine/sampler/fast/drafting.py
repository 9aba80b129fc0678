"""Decides how many tokens of drafts a step computes beside those that it must compute."""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice

from worker.engine.sampler.running import Chunk

WORTH = 1.25  # more than what a step makes anyway: guesses that look best are a bit worse than they look


def drafted(
    chunks: Sequence[Chunk],
    cheap: int,
    long_text: int,
    room: Mapping[str, int],
    most: int,
    longest_in_c: int,
) -> list[tuple[int, ...]]:
    """Return the tokens of a draft for each chunk: none for those that end within a prompt.

    A token is worth its time if it makes more in it than the step without it, by WORTH. The likeliest ones
    come first. A step takes as long as `cheap` tokens beside its own, and a token behind a text of
    `long_text` tokens twice as long as the first one of a text. `room` says how many tokens each project may
    have at most, and `most` how many all together: each has a row of logits. A draft makes no chunk longer
    than `longest_in_c` tokens, so that the same kernel computes it.
    """
    weights = [1 + chunk.start // long_text for chunk in chunks]
    spent = cheap + sum(
        (chunk.stop - chunk.start) * weight for chunk, weight in zip(chunks, weights, strict=True)
    )
    made = float(sum(chunk.is_last for chunk in chunks))
    left = dict(room)
    found: list[list[int]] = [[] for _ in chunks]
    guesses = [islice(chunk.running.lookup.guess(), _most_drafted(chunk, longest_in_c)) for chunk in chunks]
    queue: list[tuple[float, int, int]] = []

    def offer(number: int) -> None:
        for token, chance in islice(guesses[number], 1):
            heappush(queue, (-chance / weights[number], number, token))

    for number in range(len(chunks)):
        offer(number)
    while queue and most:
        value, number, token = heappop(queue)
        weight, project = weights[number], chunks[number].running.request.project
        if -value * spent <= WORTH * made:
            break
        if left[project] >= weight:
            found[number].append(token)
            left[project] -= weight
            most -= 1
            spent += weight
            made -= value * weight
            offer(number)
    return [tuple(tokens) for tokens in found]


def _most_drafted(chunk: Chunk, longest_in_c: int) -> int:
    tokens = chunk.stop - chunk.start
    return min(chunk.most_drafted, longest_in_c - tokens) if tokens <= longest_in_c else chunk.most_drafted
