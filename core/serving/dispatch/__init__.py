"""Chooses a server for a request and hands the request on.

The API uses it for chats, and an eval run's process for its rows.
"""
