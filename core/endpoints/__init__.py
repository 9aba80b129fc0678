"""Programs of others that are asked over HTTP, as JSON: the endpoints of graders, and tools that models call.

The API asks endpoints of graders. So do eval runs and trainers, and trainers also call tools.
"""
