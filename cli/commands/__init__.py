"""The commands of `tunery`, one file each. `cli.main` puts them together.

Most talk to the API as its client; `keys`, `projects` and `secrets reseal` open the database.
"""
