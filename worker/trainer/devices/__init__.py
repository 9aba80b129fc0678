"""The devices of one trainer: the processes that compute on them, their base model, and a watchdog.

It runs in every process of the trainer. The first process decides, and the others follow its orders.
"""
