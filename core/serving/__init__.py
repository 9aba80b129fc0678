"""What the API and the servers share: requests and answers, what is sampled from, and which servers there are.

A server is a process that samples from models (`worker/serve`). The API chooses a server for each request.
"""
