"""Statuses of a job, for those that need no table: core/models.py, which loads SQLAlchemy, has all."""

ENDED = ("succeeded", "failed", "cancelled")
