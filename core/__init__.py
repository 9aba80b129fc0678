"""What the API and the worker share. Imports neither torch nor a web framework."""
