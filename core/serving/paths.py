"""The paths at which the API takes requests for answers and hands them on to a server, and one of servers."""

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/v1/tokenize"

COMPUTED = "/v1/computed"
"""Below it, by the id of a request: the tokens that a server has computed for it"""
