"""Pages made from results: medians, tables, and the parts of documents that a command writes.

The modules run in the process of the command that measured; `page` is also a command.
"""
