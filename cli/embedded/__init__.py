"""Postgres, Valkey and an S3 store from Python wheels, for a machine that has no such servers.

stack                   EmbeddedServers: the three servers together, with one owner for each state folder
process                 Server: a program that is started, watched, stopped and found again
ports                   finds free ports, and reserves them
postgres, valkey, s3    how each server is set up and started, and when it is ready
"""

from cli.embedded.stack import EmbeddedServers, ServerName

__all__ = ["EmbeddedServers", "ServerName"]
