"""Methods of adaptation: their options, what is told of them, and which of them are on offer."""
