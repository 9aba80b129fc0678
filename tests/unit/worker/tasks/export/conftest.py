"""Adapters with random weights on a tiny base model."""

from tests.fixtures.models.random_adapters import base_folder, make_source, tokenizer

__all__ = ["base_folder", "make_source", "tokenizer"]
