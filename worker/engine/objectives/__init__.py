"""The losses of the objectives beyond cross-entropy: each is a function of its rows' log-probabilities.

The trainer runs them. The loss of an objective in `core/objectives` is LOSS in the module of the same name
here; those of sampled answers are in `policy`. Axes: X rows of a step, those of one example side by side; P
examples.
"""
