"""The env page: relight a picture by an environment map. `python app_env.py --help` lists the options."""

import sys

from iclight.studio.launch import run_page

if __name__ == "__main__":
    sys.exit(run_page("env"))
