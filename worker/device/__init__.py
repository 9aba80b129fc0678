"""The device that a trainer and a server share: its time, its base model, and its watchdog.

It runs in every process that computes on a device.
"""
