"""What the rules need to know of an adapter: its method, its rank, and what is special about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.methods.low_rank import EvaConfig, LoraAdapter
from core.methods.method import MAX_RANK
from core.methods.registry import METHODS

PROMPTS = frozenset({"prefix_tuning", "prompt_tuning", "p_tuning"})
NOT_MERGEABLE = PROMPTS | {"beft"}  # BEFT adds biases where a base model has none
HEADS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True)
class Traits:
    """An adapter as the rules see it. `rank` is the largest rank of a module, of LoRA alone.

    `has_patterns` means that some modules have ranks or alphas of their own, and `on_some_layers` that some
    decoder layers have no update. `quantisation_repair` belongs to LoftQ: the adapter makes up for what one
    quantised base model has lost. An adapter that `is_invoked` acts only from some tokens on (aLoRA).
    With `trains_modules`, whole modules or embeddings of tokens are trained beside A and B.
    """

    type: str
    title: str
    rank: int | None = None
    is_whole_model: bool = False
    is_dora: bool = False
    is_rank_stabilised: bool = False
    has_patterns: bool = False
    on_some_layers: bool = False
    changes_head: bool = False
    changes_experts: bool = False
    quantisation_repair: bool = False
    is_invoked: bool = False
    trains_modules: bool = False

    @property
    def is_lora(self) -> bool:
        """Whether A and B are all there is."""
        return self.type == "lora" and not self.is_dora and not self.trains_modules

    @property
    def is_mergeable(self) -> bool:
        """Whether the base model's weights can take the adapter in."""
        return self.type not in NOT_MERGEABLE and not self.quantisation_repair and not self.is_invoked


def traits_of(options: Mapping[str, Any]) -> Traits:
    """Return the traits of an adapter with these options, as a job's specification has them."""
    type_ = str(options["type"])
    method = METHODS.get(type_)
    title = method.title if method else type_
    if type_ != "lora":
        whole = method is not None and method.result == "model"
        return Traits(type_, title, is_whole_model=whole, changes_head=_changes_head(options))
    # Unchecked, because an imported adapter's options may be unusual
    lora = LoraAdapter.model_construct(**options)
    return Traits(
        type_,
        title,
        rank=_largest_rank(lora),
        is_dora=bool(lora.use_dora),
        is_rank_stabilised=bool(lora.use_rslora),
        has_patterns=bool(lora.rank_pattern or lora.alpha_pattern or lora.init_lora_weights == "eva"),
        on_some_layers=lora.layers_to_transform is not None,
        changes_head=_changes_head(options),
        changes_experts=bool(options.get("target_parameters")),
        quantisation_repair=lora.init_lora_weights == "loftq",
        is_invoked=bool(lora.alora_invocation_tokens),
        trains_modules=lora.trained_beside is not None,
    )


def _largest_rank(lora: LoraAdapter) -> int:
    """Return the largest rank of a module in the published files."""
    if not isinstance(lora.r, int):  # "auto", of a job that has published nothing yet
        return MAX_RANK
    ranks = [lora.r, *(lora.rank_pattern or {}).values()]
    if lora.init_lora_weights == "eva":
        given = lora.eva_config
        rho = given.get("rho", EvaConfig().rho) if isinstance(given, dict) else (given or EvaConfig()).rho
        ranks.append(int(rho * lora.r))
    return max(ranks) * (2 if lora.begins_with_weights else 1)


def _changes_head(options: Mapping[str, Any]) -> bool:
    targets = options.get("target_modules")
    return isinstance(targets, list) and any(name.rpartition(".")[-1] in HEADS for name in targets)
