"""One optimizer step: the loop, its passes over the rows, the trainees that make the step, and their losses.

The code runs on the training thread of each process of a trainer.
"""
