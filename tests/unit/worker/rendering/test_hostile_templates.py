"""Chat templates that do harm: none reads a file or an attribute, and the error names the line."""

import pytest

from core.errors import JobError
from tests.fixtures.models.tiny import text
from tests.fixtures.service.api import row
from worker.rendering.render import Rendering

HOSTILE = {
    "an attribute of an object": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "a file": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}{{ os.system('true') }}",
    "a change of the messages": "{{ messages.append(1) }}",
    "recursion without end": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "a range without end": "{% for i in range(10 ** 12) %}x{% endfor %}",
    "a division by zero": "{{ 1 // 0 }}",
    "a key that is missing": "{{ {}.pop('x') }}",
    "no template": "{% for %}",
    "an error of its own": "{{ raise_exception('no') }}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_template_that_does_harm_is_refused_by_the_line(kind: str) -> None:
    tokenizer = text()
    tokenizer.chat_template = HOSTILE[kind]
    with pytest.raises(JobError, match="Line 7: the base model's chat template refuses") as raised:
        list(Rendering(tokenizer, 64, "training_file").render([(7, row())]))
    assert raised.value.code == "invalid_training_file"


@pytest.mark.parametrize(
    "template", ["{{ messages|attr('__class__') }}", "{{ raise_exception.__globals__ }}"]
)
def test_a_template_gets_nothing_of_what_an_object_hides(template: str) -> None:
    tokenizer = text()
    tokenizer.chat_template = template
    assert tokenizer.apply_chat_template(row()["messages"], tokenize=False) == ""
