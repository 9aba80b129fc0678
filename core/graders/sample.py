"""A sample, which graders score: what a model wrote, and the tools that it called."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.endpoints.tools import ToolCall


class NoJson(Exception):
    """The sample's text is not JSON."""


@dataclass(frozen=True)
class Sample:
    """A sample. `text` is the last text that the model wrote, and `calls` are all of its calls of tools.

    `trace_id` is in all requests about the sample to endpoints. Without one, each request has its own.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    trace_id: str | None = None

    def __getitem__(self, name: str) -> Any:
        """Return a value that templates can name. Raises KeyError for other names, and NoJson."""
        match name:
            case "output_text":
                return self.text
            case "output_json":
                return self.parsed
            case "output_tools":
                return [call.in_chat_form for call in self.calls]
        raise KeyError(name)

    @cached_property
    def parsed(self) -> Any:
        """The text as parsed JSON, which is parsed once. Raises NoJson."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise NoJson from error

    @property
    def fields(self) -> dict[str, Any]:
        """The sample as Python graders and endpoints get it, in OpenAI's form, except for `output_json`."""
        message = {"role": "assistant", "content": self.text}
        return {
            "output_text": self.text,
            "output_tools": self["output_tools"],
            "choices": [{"index": 0, "message": message}],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the parsed JSON where the sample goes to another process: pickle refuses deep nesting."""
        return Sample, (self.text, self.calls, self.trace_id)


def given(sample: Sample, item: Any) -> str:
    """Return the sample and the item as JSON, as a Python grader is given them.

    Within the sandbox, `output_json` is added, which is the parsed text, or None if it is not JSON.
    """
    return json.dumps([sample.fields, item])
