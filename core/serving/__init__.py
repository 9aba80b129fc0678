"""What the API and the servers share: requests, answers, models, aliases, stored completions, servers.

A server is a process that samples from models (`worker/serve`). The API chooses a server for each request.
"""
