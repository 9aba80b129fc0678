"""Backups of what the service stores, and its restoration. The commands `tunery backup` and `restore` run it.

folder    whose backups a folder holds, and who may use it now
point     the time up to which a restored database shall read its log
ledger    which objects the database of that time needs
objects   the objects in the folder of backups, each once, by its hash
"""
