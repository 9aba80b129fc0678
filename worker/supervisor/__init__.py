"""The supervising process, `tunery worker`: it starts, wakes and replaces the trainer.

It also sends webhooks, starts the processes of tasks, and removes what is gone. It never
imports torch.
"""
