"""The commands `tunery files …`: upload, list, check, convert and preview files.

They run in the process of the command line and ask the API.
"""
