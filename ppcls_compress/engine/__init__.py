"""One loop that trains and evaluates any model; everything else is a hook."""
