"""Methods: lists the methods of adaptation that jobs may use, with their options."""
