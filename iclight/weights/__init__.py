"""Which files a model is made of, where they are, and whether they can be trusted: on disk and on the hub. No torch."""
