"""The rows of a job that samples answers and learns from them, as far as they are known before.

A model may end an answer after any token, so all tokens are those of the longest answers: an upper bound.
"""

from dataclasses import replace

from api.job_estimates.facts import Facts
from api.job_estimates.rows import Rows
from api.job_estimates.work import forward_operations
from core.estimates.shapes import ModelShape
from core.objectives.sampling import SamplingOptions


def with_answers(facts: Facts, asked: SamplingOptions) -> Facts:
    """Return the facts with the answers behind each prompt. An example is a prompt with all of its answers.

    The answers to a prompt share it, so it is computed once in a step.
    """
    prompts = facts.training
    training = _answered(prompts, asked.num_generations, asked.max_completion_tokens)
    saved = (asked.num_generations - 1) * prompts.tokens
    return replace(
        facts,
        training=training,
        validation=facts.validation
        and _answered(facts.validation, asked.eval_samples, asked.max_completion_tokens),
        computed_share=1 - saved / training.tokens,
    )


def _answered(prompts: Rows, count: int, longest: int) -> Rows:
    """Return the rows of `count` answers of `longest` tokens to each prompt.

    The squares are those of the sums: Σ (p + l)² = Σ p² + 2 l Σ p + l² for each row.
    """
    rows = prompts.rows
    return Rows(
        examples=prompts.examples,
        rows_per_example=count,
        tokens=count * (prompts.tokens + longest * rows),
        longest=prompts.longest + longest,
        squares=count * (prompts.squares + 2 * longest * prompts.tokens + longest**2 * rows),
        exact=False,
        least=count * (prompts.least + rows),
        most=count * (prompts.most + longest * rows),
    )


def sampled_tokens(answered: Rows, asked: SamplingOptions) -> int:
    """Return the tokens of the answers alone, at most."""
    return answered.rows * asked.max_completion_tokens


def sampling_operations(model: ModelShape, answered: Rows, asked: SamplingOptions) -> float:
    """Return the operations with which the answers of these rows are sampled. A prompt is computed once."""
    prompts = answered.tokens - sampled_tokens(answered, asked)
    computed = prompts / answered.rows_per_example + sampled_tokens(answered, asked)
    return computed * forward_operations(model, answered.usual_row)
