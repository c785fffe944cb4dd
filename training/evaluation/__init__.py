"""How good a model is: against held-out objects, path-traced things and photographs."""
