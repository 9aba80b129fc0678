"""Adapters, which jobs leave: list, read and delete them, and download them, whole or cut to fewer ranks."""
