"""The estimate of a whole job: tokens, steps, memory on several devices, disk, time and price.

The API makes it for requests and for new jobs, the trainer compares it with what it measures.
"""
