"""What a trainer and a server share of a device: whose turn it is, which base model it holds, and a watchdog.

It runs in every process that computes on a device.
"""
