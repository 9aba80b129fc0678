"""Comparisons and measurements of reinforcement fine-tuning.

losses        the policy losses and their gradients, beside TRL's GRPOTrainer on the same rollouts
learning      what models learn from rewards on three tasks, and how fast, beside TRL's GRPOTrainer

The other files are parts of `learning`.
"""
