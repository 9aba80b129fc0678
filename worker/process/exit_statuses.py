"""The exit statuses by which a trainer tells its supervisor why it ended."""

DEVICE_BROKEN = 75  # the device failed: only another process can use it again
HUNG = 76  # a computation did not come back in time: see `worker/devices/watchdog.py`
