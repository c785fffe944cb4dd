"""The env page: relight a picture by an environment map. `python app_env.py --help` lists the options."""

import sys

from iclight.cli.serve import run_page

if __name__ == "__main__":
    sys.exit(run_page("env"))
