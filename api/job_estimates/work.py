"""How much a job computes, and how long that takes on a device.

An operation is a multiplication or an addition, as the peaks of devices count them.
"""

from core.estimates.job.devices import Range
from core.estimates.job.report import Operations
from core.estimates.memory_plan import Recompute
from core.estimates.shapes import ModelShape

START_SECONDS: Range = (5.0, 20.0, 120.0)
"""From the claim of a job to its first step, and from its last step to its result, without the computing and
the load of the base model."""
MEASURED_SPREAD = (0.7, 1.0, 1.4)
"""The range around a rate that was measured on this machine: its neighbours and its load differ."""


def forward_operations(model: ModelShape, row: float, supervised: float = 1.0) -> float:
    """Return the operations of a forward pass, for each token of rows of so many tokens.

    projections 2 W, attention 2 H E row (half of all keys, scores and values), head 2 V D of learnt tokens.
    Of experts, W counts those that a token is sent to. A state takes as much as 4 products with it.
    """
    weights = sum(_weights(layer) for layer in model.of_a_token.each_layer)
    return 2 * weights + _attention(model, row) + 2 * supervised * model.vocabulary * model.hidden


def _weights(layer: ModelShape) -> float:
    """Return the weights of a layer that a token is multiplied with, if it has all experts of the layer."""
    experts, recurrence = layer.experts, layer.recurrence
    count = experts.count if experts else 1
    of_experts = sum(K * N for K, N in layer.expert_projections.values()) / count
    of_state = 4 * recurrence.values * recurrence.key_size if recurrence else 0
    return sum(K * N for K, N in layer.projections.values()) + of_experts + of_state


def _attention(model: ModelShape, row: float) -> float:
    return 2 * row * sum(layer.queries for layer in model.each_layer)


def training_operations(
    model: ModelShape,
    row: float,
    trained: int,
    recompute: Recompute = Recompute.NONE,
    whole: bool = False,
    supervised: float = 1.0,
) -> float:
    """Return the operations of a forward and a backward pass, for each token.

    A frozen weight has one product in the backward pass, and a trained one two. `trained` counts those
    numbers of an adapter that a token meets, which take part in three products. What is computed again is one
    more forward pass of it.
    """
    forward = forward_operations(model, row, supervised)
    attention = _attention(model, row)
    layers = forward - 2 * supervised * model.vocabulary * model.hidden
    again = {
        Recompute.NONE: 0.0,
        Recompute.GATE_UP: 4.0 * model.hidden * sum(layer.inner for layer in model.each_layer),
        Recompute.LAYERS: layers,
        Recompute.LAYERS_FROM_HOST: layers,
    }[recompute]
    if whole:
        return 3 * forward + again
    return 2 * forward + attention + 6 * trained + again


def seconds_of(work: Operations, rate: Range, loading: Range) -> Range:
    """Return the least, the expected and the most seconds at a rate of operations a second.

    `loading` are the seconds in which the base model is loaded. At least, a worker holds it already.
    """
    (slow, usual, fast), total = rate, work.training + work.evaluation
    least, expected, most = START_SECONDS
    return least + total / fast, expected + loading[1] + total / usual, most + loading[2] + total / slow


def measured_range(rates: list[float]) -> Range:
    """Return the range of rates around those of past jobs; there must be one."""
    ordered = sorted(rates)
    least, usual, most = MEASURED_SPREAD
    return ordered[0] * least, ordered[len(ordered) // 2] * usual, ordered[-1] * most
