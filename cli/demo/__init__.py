"""`tunery demo`: the main job end to end, as its user would write it, with proof at the end."""
