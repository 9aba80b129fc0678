"""Training. Knows nothing of HTTP.

The supervising process, `tunery worker`, has `service`, `tasks`, `supervisor`, `launch`, `janitor`, `cleanup`
and `webhooks`, and stays without torch. The trainer that it keeps alive has `trainer` and all that training
takes, with the `engine`, the `objectives` and the `data`. `tracking` runs in processes of its own.
"""
