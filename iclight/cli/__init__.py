"""The programs: the `iclight` command and the launcher of the pages. Importing it loads neither NumPy nor torch."""
