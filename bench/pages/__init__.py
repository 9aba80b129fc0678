"""From results to pages: medians, tables, and the parts of documents that a command writes."""
