"""Hands requests for answers to servers, and to other servers if the first ones cannot begin the answer.

The API uses it for chats, and the process of an eval run for its questions.
"""
