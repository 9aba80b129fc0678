"""Sign-on: people prove to the operator's OpenID provider who they are, and get a browser session for it.

The API runs it.
"""
