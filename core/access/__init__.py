"""Who may do what: projects, API keys, sign-ins and quotas, with the audit log and the usage.

The API checks keys, sign-ins and quotas at every request, and eval runs count tokens. The command line changes them in the database.
"""
