"""Errors that a server reports and the API hands on."""

from types import MappingProxyType

from core.errors import AppError, Conflict


class SamplingFailed(AppError):
    """The computation of the answer failed. The log of the server that sampled has the reason."""

    code = "sampling_failed"


class ReaderTooSlow(AppError):
    """The client reads so slowly that the answer would fill the server's memory."""

    status = 408
    type = "invalid_request_error"
    code = "reader_too_slow"


class UnsuitedServer(Conflict):
    """This server cannot answer the request, and will not: an upstream lacks what it needs. Another may."""

    code = "server_unsuited"
    headers = MappingProxyType({"x-should-retry": "false"})


class AdapterDamaged(Conflict):
    """The files of the adapter are not those that were published, or do not fit the base model."""

    code = "adapter_damaged"
    headers = MappingProxyType({"x-should-retry": "false"})
