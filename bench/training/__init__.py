"""Training measured: the rows, the trainers that take part, and the runs of one job or of many.

Each run is a process of its own, started by `running`.
"""
