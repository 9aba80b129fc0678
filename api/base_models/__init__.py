"""The operator's catalog of base models: lists, looks at models of the hub, adds and removes them."""
