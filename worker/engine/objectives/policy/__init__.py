"""The losses of sampled answers: each is a function of the log-probabilities of single tokens.

The trainer runs them. The loss that a job's `loss_type` names is LOSS in the module of that name. Axes: S
learnt tokens, X rollouts; in `advantages.py`, G prompts and N answers to each.
"""
