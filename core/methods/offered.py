"""The methods and options that this release trains. The API accepts no others, and no worker trains others.

Each line in OFFERED offers a method, and each entry of the line offers an option of the method. An option
that is not offered keeps its default. `ANY` allows every value that the method's class allows; a type allows
only the values of the type. `ALL` offers every option of a method.

    "loha": ALL,
    "lora": {"r": ANY, "init_lora_weights": Literal[True, "gaussian"]},
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union

from pydantic import BeforeValidator, Field, create_model
from pydantic.fields import FieldInfo

from core.methods.method import Alpha, MethodOptions, Rank
from core.methods.registry import METHODS, AdapterOptions, with_type

ANY: Final = object()
ALL: Final[Mapping[str, Any]] = {}

OFFERED: dict[str, Mapping[str, Any]] = {
    "lora": {
        "r": Rank | Literal["auto"],
        "lora_alpha": Alpha | Literal["auto"],
        "lora_dropout": ANY,
        "target_modules": ANY,
        "use_rslora": ANY,
        "use_dora": ANY,
        "init_lora_weights": ANY,
        "rank_pattern": ANY,
        "alpha_pattern": ANY,
        "eva_config": ANY,
        "corda_config": ANY,
        "dynamic_rank": ANY,
    },
    "adalora": {
        "target_modules": ANY,
        "target_r": ANY,
        "init_r": ANY,
        "lora_alpha": ANY,
        "lora_dropout": ANY,
        "tinit": ANY,
        "tfinal": ANY,
        "deltaT": ANY,
        "beta1": ANY,
        "beta2": ANY,
        "orth_reg_weight": ANY,
    },
    "prefix_tuning": {
        "num_virtual_tokens": ANY,
        "init_weights": ANY,
        "prefix_projection": ANY,
        "encoder_hidden_size": ANY,
    },
    "prompt_tuning": {
        "num_virtual_tokens": ANY,
        "prompt_tuning_init": Literal["RANDOM", "SAMPLE_VOCAB"],
    },
    "p_tuning": {"num_virtual_tokens": ANY, "encoder_hidden_size": ANY},
    "ia3": {"target_modules": ANY, "feedforward_modules": ANY},
    "vera": {"r": ANY, "d_initial": ANY, "projection_prng_key": ANY, "target_modules": ANY},
    "ln_tuning": {"target_modules": ANY},
    "beft": {"target_modules": ANY},
    "trainable_tokens": {"token_indices": ANY},
    "oft": {
        "r": ANY,
        "oft_block_size": ANY,
        "block_share": ANY,
        "use_cayley_neumann": ANY,
        "num_cayley_neumann_terms": ANY,
        "target_modules": ANY,
    },
    "boft": {
        "boft_block_size": ANY,
        "boft_block_num": ANY,
        "boft_n_butterfly_factor": ANY,
        "target_modules": ANY,
    },
    "hra": {"r": ANY, "apply_GS": ANY, "target_modules": ANY},
    "road": {"variant": ANY, "group_size": ANY, "target_modules": ANY},
    "loha": {"r": ANY, "alpha": ANY, "rank_pattern": ANY, "alpha_pattern": ANY, "target_modules": ANY},
    "lokr": {
        "r": ANY,
        "alpha": ANY,
        "decompose_both": ANY,
        "decompose_factor": ANY,
        "init_weights": ANY,
        "rank_pattern": ANY,
        "alpha_pattern": ANY,
        "target_modules": ANY,
    },
    "miss": {"r": ANY, "mini_r": ANY, "init_weights": ANY, "target_modules": ANY},
    "randlora": {
        "r": ANY,
        "randlora_alpha": ANY,
        "projection_prng_key": ANY,
        "sparse": ANY,
        "very_sparse": ANY,
        "target_modules": ANY,
    },
    "gralora": {"r": ANY, "hybrid_r": ANY, "alpha": ANY, "gralora_k": ANY, "target_modules": ANY},
    "delora": {
        "r": ANY,
        "delora_lambda": ANY,
        "rank_pattern": ANY,
        "lambda_pattern": ANY,
        "target_modules": ANY,
    },
    "hira": {"r": ANY, "init_weights": ANY, "rank_pattern": ANY, "target_modules": ANY},
    "glora": {"r": ANY, "config_A_B": ANY, "config_C": ANY, "config_D_E": ANY, "target_modules": ANY},
    "peanut": {"r": ANY, "depth": ANY, "act_fn": ANY, "scaling": ANY, "target_modules": ANY},
    "deft": {"r": ANY, "decomposition_method": ANY, "alpha": ANY, "para": ANY, "target_modules": ANY},
    "vblora": {
        "r": ANY,
        "num_vectors": ANY,
        "vector_length": ANY,
        "topk": ANY,
        "save_only_topk_weights": ANY,
        "init_vector_bank_bound": ANY,
        "init_logits_std": ANY,
        "target_modules": ANY,
    },
    "unilora": {
        "r": ANY,
        "theta_d_length": ANY,
        "proj_seed": ANY,
        "init_theta_d_bound": ANY,
        "save_indices": ANY,
        "target_modules": ANY,
    },
    "tinylora": {"r": ANY, "u": ANY, "weight_tying": ANY, "projection_seed": ANY, "target_modules": ANY},
    "fourierft": {
        "n_frequency": ANY,
        "scaling": ANY,
        "random_loc_seed": ANY,
        "n_frequency_pattern": ANY,
        "init_weights": ANY,
        "target_modules": ANY,
    },
    "waveft": {
        "n_frequency": ANY,
        "scaling": ANY,
        "wavelet_family": ANY,
        "use_idwt": ANY,
        "random_loc_seed": ANY,
        "n_frequency_pattern": ANY,
        "init_weights": ANY,
        "target_modules": ANY,
    },
    "c3a": {"block_size": ANY, "block_size_pattern": ANY, "init_weights": ANY, "target_modules": ANY},
    "shira": {"r": ANY, "random_seed": ANY, "target_modules": ANY},
    "supertuning": {
        "sparsity": ANY,
        "select_top": ANY,
        "r": ANY,
        "lora_alpha": ANY,
        "target_modules": ANY,
    },
    "full": ALL,
}


def narrowed(options: type[MethodOptions], offered: Mapping[str, Any]) -> type[MethodOptions]:
    """Return a subclass of `options` in which an option that is not offered allows only its default."""
    if offered is ALL:
        return options
    changed: dict[str, Any] = {}
    for name, field in options.model_fields.items():
        allowed = offered.get(name)
        if name != "type" and allowed is not ANY and not field.is_required():
            described = Field(default=field.default, description=field.description)
            changed[name] = (_only_default(field) if allowed is None else allowed, described)
    return create_model(
        options.__name__,
        __base__=options,
        __doc__=options.__doc__,
        __module__=__name__,
        __cls_kwargs__={"use_attribute_docstrings": False},  # there is no class body to read docstrings from
        **changed,
    )


def _only_default(field: FieldInfo) -> Any:
    """Return a type whose only value is the field's default."""
    match field.default:
        case None:
            return type(None)
        case float(value):
            return Annotated[float, Field(ge=value, le=value)]
        case dict() | list():  # every default of these types is empty
            return Annotated[field.annotation, Field(max_length=0)]
    return Literal[field.default]


def _one_of(options: list[type[MethodOptions]]) -> Any:
    """Return the union of the classes, discriminated by `type`; one class needs no discriminator."""
    if len(options) == 1:
        return options[0]
    return Annotated[Union[tuple(options)], Field(discriminator="type")]  # noqa: UP007


OPTIONS: dict[str, type[MethodOptions]] = {
    name: narrowed(METHODS[name].options, offered) for name, offered in OFFERED.items()
}
"""The class of options that each offered method takes."""

if TYPE_CHECKING:
    OfferedAdapter = AdapterOptions
else:
    OfferedAdapter = Annotated[_one_of(list(OPTIONS.values())), BeforeValidator(with_type)]
