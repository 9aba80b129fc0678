"""Postgres, Valkey and an S3 store from wheels, for a machine that has no servers of its own.

stack     EmbeddedServers: the three together, one owner per home
process   Server: a program that is started, watched, stopped and found again
ports     claims ports that are free
postgres, valkey, s3    how each is set up, started and asked whether it is ready
"""

from cli.embedded.stack import EmbeddedServers, ServerName

__all__ = ["EmbeddedServers", "ServerName"]
