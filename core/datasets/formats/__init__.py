"""Other formats of datasets: recognises them by their content, and reads them as rows that a job takes.

Everything is a stream: no file is in memory as a whole. The API names formats in errors; a worker converts.
"""
