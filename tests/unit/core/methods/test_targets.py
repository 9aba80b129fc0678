"""Which modules an adapter changes: the same as in PEFT."""

from itertools import product

import pytest
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists

from core.methods.method import Layers
from core.methods.targets import is_target

MODULES = [
    *(
        f"model.layers.{n}.{part}"
        for n in (0, 1, 11)
        for part in ("self_attn.q_proj", "mlp.experts.0.up_proj")
    ),
    *(f"transformer.h.{n}.attn.c_attn" for n in (0, 1)),
    "layers.1.q_proj",
    "model.vision.blocks.1.layers.2.q_proj",
    "lm_head",
]
TARGETS = [["q_proj"], ["up_proj", "c_attn", "lm_head"], ["model.layers.0.self_attn.q_proj", "c_attn"]]
LAYERS = [
    *(
        Layers(numbers, patterns)
        for numbers, patterns in product([[0], [1, 11]], [(), ("layers",), ("h", "layers")])
    ),
    None,
]


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("layers", LAYERS)
def test_targets_in_some_layers_are_those_of_peft(targets: list[str], layers: Layers | None) -> None:
    numbers, patterns = (list(layers.numbers), list(layers.patterns) or None) if layers else (None, None)
    config = LoraConfig(target_modules=targets, layers_to_transform=numbers, layers_pattern=patterns)
    expected = [module for module in MODULES if check_target_module_exists(config, module)]
    assert [module for module in MODULES if is_target(module, targets, layers)] == expected
