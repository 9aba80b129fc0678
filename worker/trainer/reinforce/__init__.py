"""What only a job with reinforcement does: it samples answers, has them graded, and learns from the rewards.

The trainer runs it.
"""
