"""Pages made from results: medians, tables, and the parts of documents that a command writes.

The modules run in the process of the command that measured. `bench.page` makes a day's page of them.
"""
