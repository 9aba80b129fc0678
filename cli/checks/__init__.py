"""The checks of `tunery doctor`: one file for the machine, one for the service.

They run in the process of the command.
"""
