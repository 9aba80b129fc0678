"""Adapters that compute with modules of their own, by autograd: PEFT's methods and full fine-tuning.

The job of such an adapter trains alone, on the training thread.
"""
