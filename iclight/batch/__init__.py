"""Many requests: what was given -> rows -> workers (threads, processes, Ray) -> pictures with recipes, and a log."""
