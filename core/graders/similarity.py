"""How alike two texts are, from 0 to 1.

The libraries are imported when they are needed: starting the API need not pay for them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

LONGEST_GLEU = 4  # words of an n-gram, as in the paper (Wu et al., 2016)

# Neither is wrong to ask for; this server lacks what they need.
NOT_ON_OFFER = {
    "cosine": "it needs a model of embeddings",
    "meteor": "it needs WordNet's dictionary",
}


def similarity(metric: str, text: str, reference: str) -> float:
    return _METRICS[metric](text, reference)


def _fuzzy_match(text: str, reference: str) -> float:
    from rapidfuzz import fuzz

    return float(fuzz.ratio(text, reference)) / 100


def _bleu(text: str, reference: str) -> float:
    """Of one sentence: orders that are longer than it do not count."""
    import sacrebleu

    return float(sacrebleu.sentence_bleu(text, [reference], use_effective_order=True).score) / 100


def _gleu(text: str, reference: str) -> float:
    """The lesser of precision and recall over all 1- to 4-grams together."""
    ours, theirs = _words(text), _words(reference)
    lengths = range(1, LONGEST_GLEU + 1)
    shared = sum(_shared(ours, theirs, n) for n in lengths)
    most = max(sum(max(0, len(words) - n + 1) for n in lengths) for words in (ours, theirs))
    return shared / most if most else 0.0


def _rouge_n(n: int) -> Callable[[str, str], float]:
    """F1 of the n-grams (Lin, 2004)."""

    def score(text: str, reference: str) -> float:
        ours, theirs = _words(text), _words(reference)
        return _f1(_shared(ours, theirs, n), len(ours) - n + 1, len(theirs) - n + 1)

    return score


def _rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    from rapidfuzz.distance import LCSseq

    ours, theirs = _words(text), _words(reference)
    return _f1(LCSseq.similarity(ours, theirs), len(ours), len(theirs))


def _f1(shared: int, ours: int, theirs: int) -> float:
    return 2 * shared / (ours + theirs) if shared else 0.0


def _shared(ours: list[str], theirs: list[str], n: int) -> int:
    return (Counter(_ngrams(ours, n)) & Counter(_ngrams(theirs, n))).total()


def _ngrams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _words(text: str) -> list[str]:
    """Without case and punctuation, as ROUGE counts; of any script."""
    return re.findall(r"\w+", text.lower())


_METRICS: dict[str, Callable[[str, str], float]] = {
    "fuzzy_match": _fuzzy_match,
    "bleu": _bleu,
    "gleu": _gleu,
    **{f"rouge_{n}": _rouge_n(n) for n in range(1, 6)},
    "rouge_l": _rouge_l,
}
