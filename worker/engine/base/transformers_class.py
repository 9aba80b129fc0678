"""Chooses transformers' class for a base model: the one that its configuration names.

A model of texts and images is a wrapper around a text model. transformers also has some of these text models
as causal models of their own, whose modules have other names. Checkpoints and the runtimes that load adapters
name modules as the wrapper does.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)


def class_for(config: Any) -> tuple[Any, Any]:
    """Return the model's class, and the part of the configuration that the class takes.

    If `architectures` names none of transformers' classes, a wrapper is preferred. Raises ValueError if
    transformers has no class that writes text.
    """
    mappings = (MODEL_FOR_MULTIMODAL_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING)
    classes = [mapping[type(config)] for mapping in mappings if type(config) in mapping]
    if not classes:
        raise ValueError(f"transformers has no causal model of the type {config.model_type}")
    named = config.architectures or ()
    chosen = next((each for each in classes if each.__name__ in named), classes[0])
    return chosen, config if isinstance(config, chosen.config_class) else config.get_text_config()


def described_model(folder: Path) -> nn.Module:
    """Return the model that a folder's configuration describes, on the device `meta`: it takes no memory."""
    model_class, config = class_for(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    with torch.device("meta"):
        model: nn.Module = model_class(config)
    return model


def is_known_type(model_type: str) -> bool:
    """Tell whether transformers has causal models of this type, or wrappers around a causal text model."""
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return True
    if model_type not in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES or model_type not in CONFIG_MAPPING:
        return False
    config: Any = CONFIG_MAPPING[model_type]
    return "text_config" in config.sub_configs and not getattr(config, "is_encoder_decoder", False)
