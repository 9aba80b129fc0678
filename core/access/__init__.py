"""Who may do what: projects, API keys, sign-ins and quotas, with the audit log and the usage.

The API checks keys, sign-ins and quotas at every request. Eval runs keep to the quotas of chats. The command
line changes all of them in the database.
"""
