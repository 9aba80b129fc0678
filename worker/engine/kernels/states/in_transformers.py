"""Convolutions and recurrences over segments, in the place of transformers' functions for whole rows.

transformers' modules call these functions by the names that their Python module has for them. The names are
led to ours. Outside of `attending_in`, ours call transformers' own.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from worker.engine.kernels.states.scan import Rule
from worker.engine.kernels.transformers_attention import current_layout

NOT_FOR_SEGMENTS = ("initial_state", "initial_states", "output_final_state", "return_final_states", "z")


def follow_segments(model: nn.Module) -> None:
    """Let the model's convolutions and recurrences follow the segments of `attending_in`.

    Which ones do depends on the functions that a Python module has, so a new model needs no entry here.
    """
    for module in {each.__module__ for child in model.modules() for each in type(child).__mro__}:
        names = vars(sys.modules[module])
        for name, function in FUNCTIONS.items():
            own = names.get(name)
            if own is not None and getattr(own, "func", None) is not function:
                names[name] = partial(function, own)


def causal_convolution(
    own: Callable[..., Tensor],
    x_BKT: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    **kwargs: Any,
) -> Tensor:
    """Convolve each channel with the tokens before it in its row: [1, K, T] -> [1, K, T]."""
    if (layout := current_layout()) is None:
        return own(x_BKT, weight, bias, activation=activation, **kwargs)
    return layout.convolve(x_BKT[0].T, weight, bias, activation).T[None]


def delta_rule(
    own: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    use_qk_l2norm_in_kernel: bool = False,
    **kwargs: Any,
) -> Any:
    """Compute the gated delta rule: [1, T, J, E] twice, [1, T, H, U], [1, T, H] twice -> [1, T, H, U]."""
    if (layout := current_layout()) is None:
        kwargs["use_qk_l2norm_in_kernel"] = use_qk_l2norm_in_kernel
        return own(query, key, value, g=g, beta=beta, **kwargs)
    _refuse_states(kwargs)
    rule = Rule(delta=True, normed=use_qk_l2norm_in_kernel, scale=query.shape[-1] ** -0.5)
    out_THU = layout.scan([query[0], key[0], value[0], g[0], beta[0]], rule)
    return out_THU.to(query.dtype)[None], None


def mamba2(
    own: Callable[..., Any],
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    **kwargs: Any,
) -> Any:
    """Compute Mamba2's recurrence: [1, T, H, U], [1, T, H], [H], [1, T, J, E] twice -> [1, T, H, U]."""
    if (layout := current_layout()) is None:
        options = {"D": D, "dt_bias": dt_bias, "dt_softplus": dt_softplus, "dt_limit": dt_limit}
        return own(x, dt, A, B, C, chunk_size, **options, **kwargs)
    _refuse_states(kwargs)
    dt_TH = dt[0] if dt_bias is None else dt[0] + dt_bias.to(dt.dtype)
    if dt_softplus:
        dt_TH = F.softplus(dt_TH)
    dt_TH = dt_TH.clamp(*dt_limit).float()
    out_THU = layout.scan([C[0], B[0], x[0], A.float() * dt_TH, dt_TH], Rule(delta=False))
    return (out_THU if D is None else out_THU + D[..., None] * x[0].float())[None]


def _refuse_states(options: dict[str, Any]) -> None:
    """Raise ValueError if transformers asks for what goes on from one call to the next."""
    for name in NOT_FOR_SEGMENTS:
        if options.get(name) is not None and options[name] is not False:
            raise ValueError(f"transformers passed {name}, but only segments may hold states")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "causal_conv1d_fn": causal_convolution,
    "torch_chunk_gated_delta_rule": delta_rule,
    "mamba2_chunk_scan": mamba2,
}
"""Ours, by the names of transformers' functions."""
