"""Permissions of checkpoints: a project shares its fine-tuned models and checkpoints with other projects."""
