"""The commands `tunery models …`: show and change the catalog of base models, and look at models of a hub.

They run in the process of the command line, on the machine that has the catalog's file.
"""
