"""Measures how similar two texts are, from 0 to 1.

The libraries are imported at the first use, so that the API starts faster.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

LONGEST_GLEU = 4  # words in the longest n-gram, as in the paper (Wu et al., 2016)

# Metrics of OpenAI that this server cannot compute, with the reason.
NOT_ON_OFFER = {
    "cosine": "it needs an embedding model",
    "meteor": "it needs the WordNet dictionary",
}


def similarity(metric: str, text: str, reference: str) -> float:
    """Return the similarity of `text` to `reference`: from 0 (nothing in common) to 1 (equal)."""
    return _METRICS[metric](text, reference)


def _fuzzy_match(text: str, reference: str) -> float:
    from rapidfuzz import fuzz

    return float(fuzz.ratio(text, reference)) / 100


def _bleu(text: str, reference: str) -> float:
    """Return the BLEU of one sentence. Only n-grams that are not longer than the sentence count.

    sacrebleu's tokenizers remember up to 65,536 texts each. This function makes them forget its texts.
    """
    from sacrebleu import sentence_bleu
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

    try:
        return float(sentence_bleu(text, [reference], use_effective_order=True).score) / 100
    finally:
        for tokenizer in (Tokenizer13a, TokenizerRegexp):
            tokenizer.__call__.cache_clear()


def _chrf(text: str, reference: str) -> float:
    """Return chrF: F2 of the n-grams of 1 to 6 characters (Popović, 2015). It keeps nothing of the texts."""
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(text, [reference]).score) / 100


def _gleu(text: str, reference: str) -> float:
    """Return the lower of precision and recall, over all n-grams of 1 to 4 words together."""
    ours, theirs = _words(text), _words(reference)
    lengths = range(1, LONGEST_GLEU + 1)
    shared = sum(_shared(ours, theirs, n) for n in lengths)
    most = max(sum(max(0, len(words) - n + 1) for n in lengths) for words in (ours, theirs))
    return shared / most if most else 0.0


def _rouge_n(n: int) -> Callable[[str, str], float]:
    """Return the function for ROUGE-N: F1 of the n-grams (Lin, 2004)."""

    def score(text: str, reference: str) -> float:
        ours, theirs = _words(text), _words(reference)
        return _f1(_shared(ours, theirs, n), len(ours) - n + 1, len(theirs) - n + 1)

    return score


def _rouge_l(text: str, reference: str) -> float:
    """Return ROUGE-L: F1 of the longest common subsequence of words."""
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
    """Return the words in lower case without punctuation, as ROUGE counts them; any script is accepted."""
    return re.findall(r"\w+", text.lower())


_METRICS: dict[str, Callable[[str, str], float]] = {
    "fuzzy_match": _fuzzy_match,
    "bleu": _bleu,
    "gleu": _gleu,
    "chrf": _chrf,
    **{f"rouge_{n}": _rouge_n(n) for n in range(1, 6)},
    "rouge_l": _rouge_l,
}
