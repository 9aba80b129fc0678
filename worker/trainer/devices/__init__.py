"""The devices of one trainer: the processes that compute on them, and their base model.

It runs in every process of the trainer. The first process decides, and the others follow its orders.
"""
