"""The parts that every request passes or shares: authentication, limits, parsing, errors, paging, downloads.

Features import from here; nothing here imports a feature.
"""
