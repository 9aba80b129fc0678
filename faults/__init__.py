"""Ways to break a service, and what must hold afterwards. The tests and `bench/soak` share them.

`history` records in the database what happened to jobs. `checker` says what must be true after any fault.
`relay` is a line to a server that breaks, `picky_store` refuses chosen requests to the object store, and
`receiver` is an endpoint for webhooks. No part of the service imports this folder.
"""
