"""The sampler: text from the resident base model, for chat and for the answers that an evaluation shows.

One thread of a process calls it. In a trainer, that is the training thread of the first process.
"""
