"""Names the files in a comparison's folder, and reads them."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from item_jax import files

PLAN_FILE = "plan.json"  # of the comparison: what must not change
RESULT_FILE = "result.json"  # of a training run that has ended
COMPARISON_FILE = "comparison.json"  # the tables of what is finished
SCORES_FILE = "scores.json"  # of one row at one seed
# In RESULT_FILE: of a tuning run the checkpoints were deleted on purpose.
DROPPED = "dropped"
_PACKAGES = ("item-jax", "jax", "flax", "optax", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
  """Returns the versions of the packages that make a result."""
  return {name: metadata.version(name) for name in _PACKAGES} | {
    "python": platform.python_version()
  }


def read_json(path: Path) -> Any:
  """Reads a JSON file; None where there is none."""
  return files.read_json(path) if path.is_file() else None
