"""Jobs of every method over the API of a service that is started for them, and what their adapters score."""
