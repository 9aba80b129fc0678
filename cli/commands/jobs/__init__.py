"""The commands `tunery jobs …`: create, estimate, watch, pause, cancel and delete jobs.

They run in the process of the command line and ask the API.
"""
