"""Parts that several processes of a worker need: threads, stops, exit statuses, faults, equal shares.

The supervising process imports this folder, so it must not import torch.
"""
