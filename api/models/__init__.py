"""Models: lists the base models on offer, the project's fine-tuned models and those shared with it."""
