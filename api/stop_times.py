"""How many seconds the API may take to stop before it is killed, from the inside out.

Each part waits longer than the part inside of it may take. `api.admission.bodies.BODY_SECONDS` is the
innermost: a body that is still arriving is refused while its sender can still be answered.
"""

REQUESTS = 15  # requests that were accepted may go on, and streams of files too
MARGIN = 10  # statements that cannot be cancelled end, and the connections are closed
API = REQUESTS + MARGIN  # `tunery up` waits for the API; a container's `stop_grace_period` is longer
