"""Statuses of a job, for those that need no table: core/models, which loads SQLAlchemy, has all."""

ENDED = ("succeeded", "failed", "cancelled")
