"""`tunery chat`: talks with a model, line by line or with what comes through a pipe."""

import sys
from collections.abc import Generator
from contextlib import closing
from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, without_none
from cli.client.connection import connected
from cli.client.errors import Refused

PATH = "/chat/completions"
GREETING = "Chat with {}. Ctrl-C stops an answer, Ctrl-D ends the chat."
PROMPT = "> "

Message = dict[str, str]


@connected
def chat(
    client: Client,
    json: bool,
    model: Annotated[
        str, typer.Argument(help="A base model, a fine-tuned model, a checkpoint or an adapter's id")
    ],
    system: Annotated[str | None, typer.Option(help="The system message, which comes first")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 always takes the likeliest token")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of each answer")] = None,
) -> None:
    """Talk with a model.

    In a terminal, each line is a message. Through a pipe, all text is one message, and the answer goes to
    stdout.
    """
    settings = without_none(model=model, temperature=temperature, max_completion_tokens=max_tokens)
    conversation = Conversation(client, settings, system, as_json=json)
    if sys.stdin.isatty():
        output.note(GREETING.format(model))
        talk(conversation)
    else:
        conversation.send(sys.stdin.read())


class Conversation:
    """A chat with its messages so far. Each answer is printed while it comes, or as JSON."""

    def __init__(
        self, client: Client, settings: dict[str, Any], system: str | None, *, as_json: bool
    ) -> None:
        self._client, self._settings, self._as_json = client, settings, as_json
        self.messages: list[Message] = [{"role": "system", "content": system}] if system else []

    def send(self, text: str) -> None:
        """Print the answer to a message, and remember both. Raises Refused and Unreachable.

        After Ctrl-C, the chat goes on with the part of the answer that had come.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        request = {**self._settings, "messages": asked}
        if self._as_json:
            answer = self._client.post(PATH, request)
            output.json(answer)
            said = answer["choices"][0]["message"]["content"] or ""
            self.messages = [*asked, {"role": "assistant", "content": said}]
            return
        deltas: list[str] = []
        try:
            with closing(self._deltas(request)) as coming:
                for delta in coming:
                    deltas.append(delta)
                    print(output.printable(delta), end="", flush=True)
        finally:
            if deltas:
                print(flush=True)
                self.messages = [*asked, {"role": "assistant", "content": "".join(deltas)}]

    def _deltas(self, request: dict[str, Any]) -> Generator[str, None, None]:
        for event in self._client.events(PATH, {**request, "stream": True}):
            for choice in event["choices"]:
                if text := choice["delta"].get("content"):
                    yield text


def talk(conversation: Conversation) -> None:
    """Send each line that is typed, until the input ends. A passing error does not end the chat."""
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            print(file=sys.stderr)
            return
        if not line.strip():
            continue
        try:
            conversation.send(line)
        except KeyboardInterrupt:
            output.note("Stopped.", "yellow")
        except Refused as error:
            if not error.is_passing:
                raise
            output.note(f"Error: {error}", "red")
