"""The exit statuses that tell a worker why a process of its own ended."""

DEVICE_BROKEN = 75  # the device failed: only a new process can use it again
TRY_AGAIN = 77  # the database was away: no fault of what the process was doing
HUNG = 76  # a computation did not return in time: see `worker/device/watchdog.py`
