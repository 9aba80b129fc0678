"""AdaLoRA: the ranks are a budget that falls while a job trains (Zhang et al. 2023, arXiv:2303.10512).

    y = x Wᵀ + s (x (A ∘ e)ᵀ) Bᵀ        A [R, K], e [R, 1], B [N, R]

The kernels compute with A ∘ e and B. PEFT's RankAllocator works on each parameter; here the same is done on
the flat tensor of all parameters, and gives the same ranks.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import JobError
from core.methods.low_rank import AdaLoraAdapter
from worker.engine.parameters.factoring import Factoring, is_lora_a
from worker.engine.parameters.flat import Extent, FlatParameters, Kept, named_tensors

PARAMETERS = ("lora_A", "lora_E", "lora_B")


def adalora_factoring(extents: Mapping[str, Extent]) -> Factoring:
    """Return the map to the factors A ∘ e and B. The flat tensor has every A, then every e, then every B."""
    modules = modules_of(extents)
    first_B = extents[f"{modules[0]}.lora_B"].start
    start_of_B = first_B - sum(extents[f"{module}.lora_E"].shape[0] for module in modules)
    moved = {
        name: extent if is_lora_a(name) else Extent(extent.start - first_B + start_of_B, extent.shape)
        for name, extent in extents.items()
        if not name.endswith("lora_E")
    }

    def factors(master: Tensor) -> Tensor:
        scaled = [
            extents[f"{module}.lora_A"].of(master) * extents[f"{module}.lora_E"].of(master)
            for module in modules
        ]
        return torch.cat([*(A_RK.flatten() for A_RK in scaled), master[first_B:]])

    return Factoring(moved, factors)


def with_removed_ranks(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the saved parts with as many ranks as the adapter's `own`; a rank that is added has an e of 0.

    So the ranks that an earlier job has removed may be used again. The file may leave out modules that have
    lost all ranks.
    """
    found = dict(saved)
    for name, present in own.items():
        whole = torch.zeros_like(present) if name.endswith("lora_E") else present.clone()
        if (kept := saved.get(name)) is not None:
            of_ranks = whole[:, : kept.shape[1]] if name.endswith("lora_B") else whole[: len(kept)]
            if of_ranks.shape != kept.shape:
                continue
            of_ranks.copy_(kept)
        found[name] = whole
    return found


def modules_of(extents: Mapping[str, Extent]) -> list[str]:
    """Return the names of the adapted modules."""
    return [name.removesuffix(".lora_A") for name in extents if is_lora_a(name)]


def refuse_schedule(adapter: AdaLoraAdapter, total_steps: int) -> None:
    """Raise JobError if the schedule leaves the job no steps in which ranks could fall."""
    if (reason := adapter.lacks_steps(total_steps)) is not None:
        raise JobError("invalid_adapter", reason, "adapter.tinit")


class RankBudget:
    """The rank budget of one adapter, and the importance of its ranks.

    Steps are counted from 1, so that the last step leaves `target_r` ranks for each module on average.
    """

    def __init__(
        self, adapter: AdaLoraAdapter, extents: Mapping[str, Extent], values: Tensor, total_steps: int
    ) -> None:
        """Begin with all ranks. `values` [P] is the flat tensor; `extents` says where each tensor lies."""
        self._options = adapter
        self._final = total_steps - adapter.tfinal
        self._extents = extents
        self._modules = modules_of(extents)
        self._sensitivity, self._uncertainty = torch.zeros_like(values), torch.zeros_like(values)
        self._masks = {
            module: torch.ones(extents[f"{module}.lora_E"].shape, dtype=torch.bool, device=values.device)
            for module in self._modules
        }
        self._all = sum(len(mask) for mask in self._masks.values())
        self._target = adapter.target_r * len(self._modules)

    @property
    def kept(self) -> Kept:
        """The averages and masks that later ranks follow from; a checkpoint holds them."""
        flat = {"sensitivity": self._sensitivity, "uncertainty": self._uncertainty}
        masks = {f"mask.{module}.lora_E": mask for module, mask in self._masks.items()}
        return named_tensors(flat, self._extents) | masks

    def budget_after(self, step: int) -> int:
        """Return how many ranks all modules together may have after `step` steps."""
        begin = self._options.tinit
        if step <= begin:
            return self._all
        left = max(0.0, 1 - (step - begin) / (self._final - begin))
        return int((self._all - self._target) * left**3 + self._target)

    @torch.no_grad()
    def add_orthogonality_gradient(self, parameters: FlatParameters) -> None:
        """Add the gradient of w · mean ‖A Aᵀ - I‖, over every A and every Bᵀ, to the parameters' gradient."""
        weight = self._options.orth_reg_weight / (2 * len(self._modules))
        for name, extent in self._extents.items():
            if name.endswith("lora_E"):
                continue
            matrix, gradient = (
                extent.of(flat) if is_lora_a(name) else extent.of(flat).T
                for flat in (parameters.master, parameters.gradient)
            )
            excess = matrix @ matrix.T
            excess.diagonal().sub_(1)
            norm = excess.norm().clamp_min(torch.finfo(excess.dtype).tiny)
            gradient.addmm_(excess / norm, matrix, alpha=2 * weight)

    @torch.no_grad()
    def allocate(self, parameters: FlatParameters, step: int, updated: bool = True) -> int:
        """Set the e of all ranks beyond the budget to 0, and return the budget.

        Call it after the update of step number `step`, while its gradient is still there; or without
        `updated`, if that step made no update.
        """
        if updated and step < self._final:
            self._update_averages(parameters)
        budget = self.budget_after(step)
        falls = self._options.tinit < step < self._final and step % self._options.deltaT == 0
        if falls or step == self._final:
            self._mask_least_important(budget)
        if falls or step >= self._final:
            for module, mask in self._masks.items():
                self._extents[f"{module}.lora_E"].of(parameters.master).masked_fill_(~mask, 0.0)
        return budget

    def _update_averages(self, parameters: FlatParameters) -> None:
        """Smooth every parameter's sensitivity |w ∂L/∂w|, and its distance from the smoothed one."""
        beta1, beta2 = self._options.beta1, self._options.beta2
        sensitivity = (parameters.master * parameters.gradient).abs()
        self._sensitivity.mul_(beta1).add_(sensitivity, alpha=1 - beta1)
        self._uncertainty.mul_(beta2).add_((sensitivity - self._sensitivity).abs(), alpha=1 - beta2)

    def _mask_least_important(self, budget: int) -> None:
        """Mask all ranks except the `budget` most important ones."""
        surplus = self._all - budget
        if surplus == 0:
            return
        scores = {module: self._scores_of(module) for module in self._modules}
        threshold = torch.cat(list(scores.values())).kthvalue(surplus).values
        for module, scores_R in scores.items():
            self._masks[module].copy_((scores_R > threshold)[:, None])

    def _scores_of(self, module: str) -> Tensor:
        """Return each rank's score [R]: the importance of its e, plus the mean of its A's and of its B's."""
        A_RK, e_R1, B_NR = (self._importance(f"{module}.{name}") for name in PARAMETERS)
        return e_R1[:, 0] + A_RK.mean(1) + B_NR.mean(0)

    def _importance(self, name: str) -> Tensor:
        extent = self._extents[name]
        return extent.of(self._sensitivity) * extent.of(self._uncertainty)
