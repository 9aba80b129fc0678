"""A server answers chats and completions in OpenAI's form, as the API asks it to."""

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.fixtures.api import strictly
from tests.fixtures.serving import Serving, ServerProcess, chat_body, served


def test_a_chat_is_answered_in_the_form_of_openai(server: ServerProcess) -> None:
    answer = server.chat(max_tokens=8)
    assert answer.status_code == 200, answer.text
    completion: ChatCompletion = strictly(ChatCompletion, answer.json())
    print(completion)
    assert completion.usage.completion_tokens <= 8
