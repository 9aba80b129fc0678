"""The shell in which the tests of the command line run."""

from tests.fixtures.shell import closed_port, operator, shell, tunery

__all__ = ["closed_port", "operator", "shell", "tunery"]
