"""The description of a policy loss.

In the formulas, r is p / p_sampler of a token, A its advantage, and |y| the number of tokens of its answer. G
is the number of answers in a step, and M is `max_completion_tokens`. clip(r) is r between 1 − `epsilon` and
1 + `epsilon_high`. No gradient flows through sg.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PolicyLossDescription:
    """One loss in words: for the API, for documents and for pages.

    `summary` is a sentence that says when to choose it. `source` is the paper, with its arXiv number if it
    has one.
    """

    title: str
    summary: str
    formula: str
    source: str
