"""Adapters that compute with modules of their own, by autograd: PEFT's methods and full fine-tuning.

Their jobs train alone, on the training thread.
"""
