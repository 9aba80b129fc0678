"""What every request passes through or shares: authentication, limits, parsing, errors, paging, downloads.

Features import from here; nothing here imports a feature.
"""
