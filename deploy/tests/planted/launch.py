"""`launch.py <bug> <service>`: start a service with a bug planted, to see whether the tests that must catch it do.

A bug is a module beside this one whose `plant()` changes the loaded code; nothing in the shipped source knows of it.
"""

import runpy
import sys
from pathlib import Path

from common import serve

if __name__ == "__main__":  # and not in the worker processes a service may start
    bug, service = sys.argv[1:]
    runpy.run_path(str(Path(__file__).with_name(f"{bug}.py")))["plant"]()
    raise SystemExit(serve.main([service]))
