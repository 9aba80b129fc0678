"""How a command reaches the service and speaks to its user: connection, output, progress, errors."""
