"""What the API and the servers share: models, aliases, stored completions, servers, requests and answers.

A server is a process that samples from models (`worker/server`). The API chooses a server for each request.
"""
