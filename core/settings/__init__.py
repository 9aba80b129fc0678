"""The settings of a process: one frozen object, built from TUNERY_* variables when the process starts.

The object is passed on as an argument, so that no other code reads these variables.
"""

from core.settings.settings import PREFIX, SERVER_FIELDS, Settings

__all__ = ["PREFIX", "SERVER_FIELDS", "Settings"]
