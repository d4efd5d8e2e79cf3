"""Measure how fast the services are, each figure against a yardstick in the same run."""

import sys
from pathlib import Path

# Several machines are started by the modules with which the tests start them.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
