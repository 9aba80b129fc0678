"""The layers of a base model as plain numbers, and how a configuration tells them.

Both the API and the trainer use it.
"""
