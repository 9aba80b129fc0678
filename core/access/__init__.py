"""Who may do what: projects, keys, sign-ins, roles' limits, and the records of what was done.

The API checks them at every request; the command line changes them in the database.
"""
