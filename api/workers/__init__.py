"""Workers: what trains at the moment, on which devices, and which jobs wait."""
