"""The pages' parts, a file each: the form, the tabs, and what stands in them."""
