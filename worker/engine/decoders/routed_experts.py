"""A router and its experts in the MLP's place of a layer of the fast path.

The router is transformers' own module, which stays as it is. The experts are computed by the kernel that
computes them in transformers' modules too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from core.estimates.layers.table import CHOSEN
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.architecture import UnknownFeature, routed_of
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.kernels.experts.modules import forward, parameter_names, weights_of, with_updates


@dataclass(frozen=True)
class RoutedExperts:
    """The modules of transformers, the experts' name in the model, and how many of them a token takes."""

    name: str
    router: nn.Module
    experts: Any
    chosen: int

    @classmethod
    def of(cls, model: nn.Module, layer: str, config: Any) -> "RoutedExperts | None":
        """Read them from the layer of this name; None if it has none. `config` is the text model's.

        Raises UnknownFeature if the configuration does not say how many experts a token takes.
        """
        if (names := routed_of(model.get_submodule(layer))) is None:
            return None
        router, experts = (f"{layer}.{name}" for name in names)
        chosen = next((found for name in CHOSEN if (found := getattr(config, name, None))), None)
        if chosen is None:
            raise UnknownFeature(f"its configuration has no {' or '.join(CHOSEN)}")
        return cls(experts, model.get_submodule(router), model.get_submodule(experts), chosen)

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        """The E, N, K of the weights that an adapter can be put on, by the parameters' names."""
        names = parameter_names(self.experts)
        return {f"{self.name}.{name}": weights_of(self.experts, name).shape for name in names}

    @property
    def products(self) -> int:
        """The number of weights of experts that one token is multiplied by."""
        return sum(self.chosen * outputs * inputs for _, outputs, inputs in self.shapes.values())

    def adapted(self, x_TD: Tensor, on_axis: AdaptersOnAxis) -> Tensor:
        """Return the sum of each token's experts, [T, D], with the updates of the adapters that train."""
        names = parameter_names(self.experts)
        shares = {name: found for name in names if (found := on_axis.shares(f"{self.name}.{name}"))}
        return self._sent(x_TD, with_updates(self.experts, shares))

    def updated(self, x_TD: Tensor, updates: Mapping[str, Sequence[ExpertUpdate]]) -> Tensor:
        """Return the same with updates by the weights' names."""
        return self._sent(x_TD, partial(forward, self.experts, updates=updates))

    def _sent(self, x_TD: Tensor, compute: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        _, weights_TC, index_TC = self.router(x_TD)
        return compute(x_TD, index_TC, weights_TC)
