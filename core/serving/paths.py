"""The paths at which the API takes requests for answers, and hands them on to a server."""

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/v1/tokenize"
