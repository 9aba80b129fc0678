"""The API under load: a service, HTTP clients, uploads.

`api` is a command, and starts `uploads` as a process of its own.
"""
