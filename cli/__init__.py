"""The command line `tunery`. Imports neither torch nor a web framework before a command needs them."""
