"""What a job minimises, where that is not the cross-entropy of its rows: losses of the rows'
log-probabilities.

Each has a file. Axis R: rows of a step, those of an example side by side; P: examples.
"""
