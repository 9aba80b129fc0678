"""Comparisons and measurements of reinforcement fine-tuning.

losses        the policy losses and their gradients, beside TRL's GRPOTrainer on the same rollouts
"""
