"""One optimizer step: the loop, its passes over the rows, the trainees that it moves, and their losses.

It runs on the training thread of each process of a trainer.
"""
