"""What the API and the servers share: what a request samples from, and which servers there are.

A server is a process that samples from models (`worker/serve`). The API chooses a server for each request.
"""
