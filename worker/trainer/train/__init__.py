"""The trainer's loop (`loop.py`), what a job does in it (`job.py`), and the process of both (`trainer.py`).

It runs in the trainer process; of several processes, in the first one.
"""
