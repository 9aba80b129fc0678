"""What the model writes about a row: its samples, in OpenAI's form."""

from typing import Any

from core.endpoints.tools import ToolCall
from core.evals.data_sources import CompletionsDataSource, RunSamplingParams
from core.graders.sample import Sample
from core.serving.served_model import ServedModel
from worker.grading.answers import answer
from worker.grading.asking import Asking
from worker.grading.row_failed import RowFailed
from worker.grading.usage import UsageSums
from worker.tasks.evaluation.prompts import prompt_of
from worker.tasks.evaluation.rows.items import Item

PASSED_ON = ("top_p", "response_format", "tools")


class Sampler:
    """Asks one model about the rows. A record gets the same answer again, since its seed follows from it."""

    def __init__(
        self, asking: Asking, source: CompletionsDataSource, model: str, served: ServedModel
    ) -> None:
        self._asking, self._model, self._served = asking, model, served
        self._input, self._temperature = source.input_messages, source.temperature
        self._most_tokens = source.most_tokens
        self._params = source.sampling_params or RunSamplingParams()

    async def sample(self, index: int, item: Item, usage: UsageSums) -> dict[str, Any]:
        """Return the model's answer for a record. Raises RowFailed, and what `Asking.ask` raises."""
        params = self._params
        asked = {
            "model": self._model,
            "messages": prompt_of(self._input, item.item, item.prompt),
            "seed": (params.seed or 0) + index,
            "temperature": self._temperature,
            "max_completion_tokens": self._most_tokens,
        }
        given = {name: getattr(params, name) for name in PASSED_ON if getattr(params, name) is not None}
        return await answer(self._asking, self._served, self._model, {**asked, **given}, usage)


def written(sample: dict[str, Any]) -> Sample:
    """Return what graders get of a sample, also of one that came with its row.

    Raises RowFailed if it has no text, or if its calls of tools are not in OpenAI's form.
    """
    output = sample.get("output")
    last = output[-1] if isinstance(output, list) and output and isinstance(output[-1], dict) else None
    text = sample.get("output_text")
    if not isinstance(text, str):
        if last is None:
            raise RowFailed("no_sample", "The row has no 'sample' with an 'output_text'.")
        text = str(last.get("content") or "")
    calls = sample.get("output_tools") or (last or {}).get("tool_calls") or []
    try:
        return Sample(text, tuple(map(_call, calls)))
    except (LookupError, TypeError) as error:
        reason = "The calls of tools in the row's 'sample' are not in the form of OpenAI's 'tool_calls'."
        raise RowFailed("invalid_sample", reason) from error


def _call(call: Any) -> ToolCall:
    """Return a call in OpenAI's form. Raises LookupError and TypeError if it has another one."""
    function = call["function"]
    name, arguments = function["name"], function["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise TypeError
    return ToolCall(str(call.get("id") or ""), name, arguments)
