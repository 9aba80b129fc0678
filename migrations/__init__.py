"""Alembic's migrations of the database schema: one file in versions/ for each step."""
