"""The files of base models, read without loading the models.

The API and the workers use it.
"""
