"""The commands `tunery evals …` and `tunery evaluate`: what the models of a project are worth.

They run in the process of the command line and ask the API.
"""
