"""Subjects under known light: a light stage, backdrops, photographs."""
