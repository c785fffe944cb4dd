"""Pictures and light as NumPy arrays: read within a budget, cropped, converted, cut out. No torch."""
