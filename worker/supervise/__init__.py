"""The supervising process, `tunery worker`: it starts, wakes and replaces the trainer.

It also sends webhooks, removes what is gone, and never imports torch.
"""
