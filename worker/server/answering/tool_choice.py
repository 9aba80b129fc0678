"""Which tools a model may call, and which it must call, as a request says."""

from core.serving.schemas.chat import NamedTool
from core.serving.schemas.tokens import Conversation


def tool_names(request: Conversation) -> frozenset[str]:
    """Return the names of the tools that the model may call."""
    if request.tool_choice == "none":
        return frozenset()
    return frozenset(tool.function.name for tool in request.tools or ())


def must_call(request: Conversation) -> list[str]:
    """Return the tools of which the model must call one; none if it may answer with text."""
    if isinstance(request.tool_choice, NamedTool):
        return [request.tool_choice.function.name]
    if request.tool_choice == "required":
        return [tool.function.name for tool in request.tools or ()]
    return []
