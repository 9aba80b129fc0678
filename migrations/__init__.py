"""Alembic's migrations of the database. `first/` has the tables of the first migration, in SQL."""
