"""The formats of an export, each with its options, as clients send them and tasks keep them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core.exports.destinations import Destination
from core.methods.method import MAX_RANK

Precision = Annotated[
    Literal["fp32", "fp16", "bf16"], Field(description="The type of the numbers in the file")
]
ReducedRank = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_RANK,
        description="The rank of the result, by a singular value decomposition of the whole update. The "
        "report states the error. Null keeps a LoRA as it is, exactly. Other methods need a rank",
    ),
]


class ExportOptions(BaseModel):
    """What all requests have in common: a format, where the files go, and no unknown option."""

    model_config = ConfigDict(extra="forbid")

    destination: Annotated[
        Destination | None, Field(description="Where the files are pushed to, beside the download; or null")
    ] = None


class LoraExport(ExportOptions):
    """A plain LoRA in PEFT's format that every runtime with LoRA loads.

    The scale is folded into B, so that alpha equals the rank; patterns of ranks and alphas are gone.
    """

    format: Literal["lora"]
    rank: ReducedRank = None
    precision: Precision = "fp32"


class MlxExport(ExportOptions):
    """The same LoRA under the names and in the layout of mlx-lm."""

    format: Literal["mlx"]
    rank: ReducedRank = None
    precision: Precision = "fp32"


class GgufAdapterExport(ExportOptions):
    """The same LoRA as a GGUF file, which llama.cpp loads beside a GGUF of the base model (`--lora`)."""

    format: Literal["gguf_adapter"]
    rank: ReducedRank = None
    precision: Annotated[
        Literal["fp32", "fp16"], Field(description="The type of the numbers in the file")
    ] = "fp32"


class MergedExport(ExportOptions):
    """The base model with the adapter merged into its weights, as safetensors. Nothing else is needed."""

    format: Literal["merged"]
    precision: Precision = "bf16"


class GgufExport(ExportOptions):
    """The merged model as one GGUF file for llama.cpp and Ollama, with a Modelfile for the latter."""

    format: Literal["gguf"]
    quantization: Annotated[
        Literal["f16", "q8_0", "q4_0"], Field(description="The type of the weights in the file")
    ] = "f16"


ExportRequest = Annotated[
    LoraExport | MlxExport | GgufAdapterExport | MergedExport | GgufExport, Field(discriminator="format")
]
EXPORT_REQUEST: TypeAdapter[ExportRequest] = TypeAdapter(ExportRequest)
