"""The adapter of a request: the options of any method. Of a LoRA, rank and alpha may be `"auto"`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from core.methods import low_rank
from core.methods.method import Alpha, Rank
from core.methods.registry import OtherThanLora, with_type


class LoraAdapter(low_rank.LoraAdapter):
    __doc__ = low_rank.LoraAdapter.__doc__

    r: Rank | Literal["auto"] = 16  # type: ignore[assignment]  # a specification has a number
    """The rank; a higher rank can learn more and takes more memory. `auto` tries the ranks 4, 8, 16 and 32"""
    lora_alpha: Alpha | Literal["auto"] = 32  # type: ignore[assignment]
    """Divided by r, it scales the update; with an automatic rank twice the rank, unless the job sets it"""


RequestedAdapter = Annotated[
    LoraAdapter | OtherThanLora, Field(discriminator="type"), BeforeValidator(with_type)
]
