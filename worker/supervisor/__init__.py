"""The supervising process, `tunery worker`: it starts, wakes and replaces the trainer.

It also sends webhooks, starts the processes that report to trackers, and removes what is gone. It never
imports torch.
"""
