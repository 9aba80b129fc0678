"""Grades samples by any grader: in processes beside this one, by models that servers load, and by endpoints.

The process of an eval run does it, and so does a thread of the trainer.
"""
