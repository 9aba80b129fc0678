"""Load for the API and the dashboard: a service, HTTP clients, uploads, strangers, pages in Chromium.

The modules run in the process of `bench.api` or `bench.dashboard`; `uploads` runs in a process of its own.
"""
