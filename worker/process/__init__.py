"""Parts that several processes of a worker need: periodic threads, stops, exit statuses, faults.

The supervising process imports this folder, so it must not import torch.
"""
