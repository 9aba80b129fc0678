"""The parts that requests share once they are admitted: parsing, errors, paging, downloads.

Features import from here; nothing here imports a feature.
"""
