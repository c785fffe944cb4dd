"""The fbc page: relight a picture by a background. `python app_bg.py --help` lists the options."""

import sys

from iclight.cli.serve import run_page

if __name__ == "__main__":
    sys.exit(run_page("fbc"))
