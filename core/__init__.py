"""The code that API, worker and command line share. It imports neither torch nor a web framework."""
