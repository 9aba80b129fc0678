"""The checkpoints of a job: list them, and download the weights of one."""
