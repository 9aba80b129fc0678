"""Evals, by which models are judged: create, read, rename and delete them. Folders within have their runs."""
