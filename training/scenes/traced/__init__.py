"""Path-traced things (Mitsuba) under mixtures of their lights."""
