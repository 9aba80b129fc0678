"""Parts that every process of a worker needs: periodic threads, stop times, exit statuses, kinds of faults.

The supervising process and the trainer both import it, so it imports no torch.
"""
