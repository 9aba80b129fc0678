"""Chats and completions: finds what a client may sample from, and hands its request on to a server.

It runs in the API's process. The servers (`worker/server`) render, sample and write the answers.
"""
