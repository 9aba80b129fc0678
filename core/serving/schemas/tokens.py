"""`POST /v1/tokenize`: a prompt as the model gets it. Request and answer are vLLM's; `prompt` is our own."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from core.options import Options
from core.serving.schemas.chat import MAX_MESSAGES, MAX_TOOLS, ChatRequest, NamedTool, Tool
from core.serving.schemas.messages import Message
from core.serving.schemas.sampling import ModelName, User


class TokenizeRequest(Options):
    """The messages of a chat, or the text of a completion. `tools` and `tool_choice` are those of a chat."""

    model: ModelName
    messages: Annotated[list[Message] | None, Field(min_length=1, max_length=MAX_MESSAGES)] = None
    prompt: Annotated[str | None, Field(description="The text of a completion, in place of `messages`")] = (
        None
    )
    tools: Annotated[list[Tool] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    add_generation_prompt: Annotated[
        bool | None, Field(description="Whether messages end with the beginning of an answer. Default: true")
    ] = None
    add_special_tokens: Annotated[
        bool | None,
        Field(
            description="Whether the tokenizer adds its special tokens, such as the one that begins a text. "
            "Default: as in a chat or completion, which is false for messages and true for a text"
        ),
    ] = None
    return_token_strs: Annotated[
        bool | None, Field(description="Whether to return the text of each token as well")
    ] = None
    user: User = None

    @property
    def beginning(self) -> str:
        """Nothing: no server has a cache that helps."""
        return ""

    @property
    def answers(self) -> int:
        """The number of its answers, as chats and completions have it."""
        return 1


Conversation = ChatRequest | TokenizeRequest
"""What has messages and tools"""


class Tokenized(BaseModel):
    """A prompt, and its tokens. `prompt` is the text that the chat template makes of messages."""

    count: int
    max_model_len: Annotated[int, Field(description="Most tokens of a prompt and its answer together")]
    tokens: list[int]
    token_strs: Annotated[
        list[str] | None,
        Field(description="The text of each token. A token that is a part of a character has � in it"),
    ] = None
    prompt: str
