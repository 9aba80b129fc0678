"""What a job does that samples its answers: it has them graded, and learns from the rewards.

The trainer runs it. `worker.trainer.distillation` is the same with a teacher in place of the grader.
"""
