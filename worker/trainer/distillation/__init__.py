"""What only a job with distillation does: a teacher reads its answers, and each token gets an advantage.

The trainer runs it.
"""
