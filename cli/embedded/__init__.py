"""Postgres, Valkey and an S3 store from Python wheels, for a machine that has no servers of its own.

The process that uses them, such as `tunery up`, starts and watches each one as a child process.

stack     EmbeddedServers: the three together, one owner per home
process   Server: a program that is started, watched, stopped, and found again after its owner was killed
ports     PortClaim: free ports that nobody else gets
archive   Archive: backups of Postgres by pgBackRest
postgres, valkey, s3    how each server is set up, started and asked whether it is ready
"""

from cli.embedded.archive import Archive, Backups
from cli.embedded.stack import EmbeddedServers, ServerName

__all__ = ["Archive", "Backups", "EmbeddedServers", "ServerName"]
