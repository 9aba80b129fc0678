"""The API and the dashboard under load: a service, HTTP clients, uploads, strangers, pages in Chromium.

`api`, `streams`, `dashboard` and `first_visit` are commands. `uploads` runs in a process of its own.
"""
