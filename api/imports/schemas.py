"""A request to import an adapter."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.imports import EnabledParts
from core.methods.method import MAX_RANK
from core.options import Suffix


class ImportAdapter(BaseModel):
    """A file with a LoRA adapter, and the base model that it belongs to.

    The file was uploaded before, with the purpose `user_data`. It is a zip of the folder that PEFT has saved,
    or a checkpoint of Microsoft's loralib: safetensors, or a file of `torch.save`. It may be deleted after
    the import.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    file: Annotated[str, Field(description="The id of the uploaded file")]
    base_model: Annotated[str, Field(description="A base model from `GET /v1/models`")]
    suffix: Annotated[Suffix | None, Field(description="A part of the model's name")] = None
    lora_alpha: Annotated[
        float | None,
        Field(gt=0, le=2**16, description="The layers' alpha, which a loralib checkpoint does not hold"),
    ] = None
    r: Annotated[
        int | None,
        Field(ge=1, le=MAX_RANK, description="The layers' rank in loralib. It is compared with the file's"),
    ] = None
    enable_lora: Annotated[
        EnabledParts | None,
        Field(
            description="Which parts of merged layers are adapted in loralib, such as `[true, false, true]` "
            "for queries and values. Needed if not all parts are"
        ),
    ] = None
