"""Programs that answer prompts with another runtime. Each runs alone, by the Python that has the runtime.

They import nothing of ours: the other Python has none of our libraries.
"""
