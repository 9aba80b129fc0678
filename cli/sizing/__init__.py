"""Sizes an installation: what jobs and chats of a day need of GPUs, database, store and network.

`tunery size` runs it, without a service. It computes with the model of estimates, and says where each
figure is from.
"""
