"""/v1/chat/completions and /v1/completions: answers of base models, fine-tuned models and checkpoints.

/v1/tokenize shows what such a model gets as its prompt.
"""

from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from api.admission.auth import CurrentCaller
from api.admission.bodies import takes_images
from api.admission.fair_share import ReleasePermit
from api.chat.relay import Relay
from api.chat.shared import ChatComponents
from api.dependencies import ModelCatalog, ReadingSessions, component
from api.http.routers import feature
from api.models.chat_models import ChatModel, resolve
from core.errors import InvalidRequest, NotFound, RateLimited
from core.serving.errors import AdapterDamaged, ReaderTooSlow, SamplingFailed, UnsuitedServer
from core.serving.paths import CHAT, COMPLETIONS, TOKENIZE
from core.serving.schemas.answers import ChatCompletion, Completion
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.coherence import check_chat, check_completion, check_tokenize
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.sampling import Sampling
from core.serving.schemas.tokens import Tokenized, TokenizeRequest
from core.serving.served_model import ServedModel

Components = Annotated[ChatComponents, Depends(component("chat"))]

ChoosingKey = Annotated[
    str | None,
    Header(
        max_length=255,
        description="If an alias leads to several models, and the request has no `user`, this decides which "
        "of them answers. It has no other effect: a repeated request is answered again",
        alias="Idempotency-Key",
    ),
]

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            EventSourceResponse.media_type: {
                "schema": {"type": "string", "description": "The answer to a request with `stream`: true"}
            }
        }
    }
}

router = feature(
    "",
    "Chat",
    InvalidRequest,
    NotFound,
    ReaderTooSlow,
    AdapterDamaged,
    UnsuitedServer,
    RateLimited,
    SamplingFailed,
)


class Finder:
    """Finds the model of a request, and refuses a project that has used up its tokens."""

    def __init__(
        self,
        request: Request,
        caller: CurrentCaller,
        sessions: ReadingSessions,
        catalog: ModelCatalog,
        components: Components,
        idempotency_key: ChoosingKey = None,
    ) -> None:
        self._caller, self._sessions, self._catalog, self._rates = caller, sessions, catalog, components.rates
        self._request, self._idempotency_key = request, idempotency_key

    async def find(self, body: Sampling | TokenizeRequest) -> ChatModel:
        """Return the model. Raises NotFound and RateLimited."""
        return await run_in_threadpool(self._find, body)

    def _find(self, body: Sampling | TokenizeRequest) -> ChatModel:
        def key() -> str:
            named = body.user or self._idempotency_key
            return named or body.model_dump_json(exclude={"stream", "stream_options"})

        with self._sessions() as session:
            model = resolve(session, self._caller.project_id, self._catalog, body.model, key)
        most = self._caller.quotas.tokens_per_minute
        if most is not None:
            left = self._rates.check(self._caller.project_id, most)
            self._request.state.rate_headers.update(left)
        return model


@router.post(CHAT, response_model=ChatCompletion, responses=STREAMED)
@takes_images
async def create_chat_completion(
    body: ChatRequest,
    caller: CurrentCaller,
    finder: Annotated[Finder, Depends()],
    components: Components,
    release_permit: ReleasePermit,
) -> Response:
    """Answer a chat, whole or as a stream of chunks.

    `model` is a base model, a fine-tuned model, an adapter's id, an alias, or a checkpoint, also of a job
    that still trains. The answer's `model` is the one that answered. With `store: true`, request and answer
    are kept if the project may store completions. A stream that cannot be finished ends with an event that
    has an `error`, and without `[DONE]`.
    """
    check_chat(body)
    model = await finder.find(body)
    release_permit()
    return Relay(components, CHAT, body, model, caller)


@router.post(COMPLETIONS, response_model=Completion, responses=STREAMED)
@takes_images
async def create_completion(
    body: CompletionRequest,
    caller: CurrentCaller,
    finder: Annotated[Finder, Depends()],
    components: Components,
    release_permit: ReleasePermit,
) -> Response:
    """Continue a prompt, or several, without a chat template: whole, or as a stream of chunks."""
    check_completion(body)
    model = await finder.find(body)
    release_permit()
    return Relay(components, COMPLETIONS, body, model, caller)


@router.post(TOKENIZE, response_model=Tokenized)
@takes_images
async def tokenize(
    body: TokenizeRequest,
    caller: CurrentCaller,
    finder: Annotated[Finder, Depends()],
    components: Components,
    release_permit: ReleasePermit,
) -> Response:
    """Return the prompt that a model gets, with the ids of its tokens.

    Messages are rendered by the model's chat template, as for an answer. Request and answer have the form
    of vLLM's `/tokenize`, without the fields that choose another template. Nothing is sampled, so no
    tokens are counted, but the request takes a permit of the project's `concurrent_chats`, and the server
    loads the base model.
    """
    check_tokenize(body)
    model = await finder.find(body)
    release_permit()
    base = ChatModel(
        model.name, ServedModel(base=model.served.base, precision=model.served.precision)
    )  # an adapter changes no prompt
    return Relay(components, TOKENIZE, body, base, caller)
