"""The fc page: relight a picture by words and a light direction. `python app.py --help` lists the options."""

import sys

from iclight.cli.serve import run_page

if __name__ == "__main__":
    sys.exit(run_page("fc"))
