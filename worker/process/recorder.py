"""What a process of the worker records for Prometheus. Like its log, there is one for the whole process."""

from core.monitoring.recorder import Recorder

recorder = Recorder()
