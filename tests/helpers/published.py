"""Weights of other projects, from packages of the extra `weights`."""

import importlib.util
from pathlib import Path

import pytest


def folder(package: str) -> Path:
  """The folder of an installed package; skips the test without it."""
  found = importlib.util.find_spec(package)
  if found is None or not found.submodule_search_locations:
    pytest.skip(f"{package} of the extra weights is not installed")
  return Path(found.submodule_search_locations[0])
