"""`python -m iclight` is the `iclight` command."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
