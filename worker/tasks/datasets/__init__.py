"""Work on datasets beside the training: checks of their content, and conversions of other formats.

`python -m worker.tasks.datasets TASK FENCE HOLDER`, which the worker starts, does one task. It never imports
torch.
"""
