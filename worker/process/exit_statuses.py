"""The exit statuses that tell a supervisor why its trainer ended."""

DEVICE_BROKEN = 75  # the device failed: only a new process can use it again
HUNG = 76  # a computation did not return in time: see `worker/devices/watchdog.py`
