"""Makes the estimate of a job: tokens, steps, memory on several devices, disk, time and price.

Requests for estimates and requests for jobs use it.
"""
