"""Tells sizes in words."""

MB, GB = 1e6, 1e9


def in_words(count: float) -> str:
    """Return a number of bytes in GB, or in MB below 0.1 GB, with one decimal."""
    return f"{count / GB:.1f} GB" if count >= GB / 10 else f"{count / MB:.1f} MB"
