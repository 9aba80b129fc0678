"""Browser sessions: the dashboard signs in with an API key, and then acts for the key by a cookie."""
