"""Imports flow one way, and scoring needs no device."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "item_jax"

# A module imports from its own layer and from those before it. Data and models
# stand side by side and never meet.
LAYERS = (
  {
    "errors",
    "files",
    "processes",
    "remote",
    "copies",
    "uploads",
    "config",
    "config_check",
    "config_flags",
    "batch",
  },
  {"data", "models"},
  {"objectives"},
  {"pretrained"},
  {"tasks"},
  {"training"},
  {"evaluation"},
  {"comparison"},
  {"commands", "places"},
  {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
  """Dotted names that a file imports, inside functions too."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {name.name for name in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      found |= {f"{node.module}.{name.name}" for name in node.names}
  return found


def place(dotted: str) -> str | None:
  parts = dotted.split(".")
  if parts[0] != "item_jax" or len(parts) == 1:
    return None
  return parts[1] if parts[1] in RANK else None


def test_every_module_has_a_layer():
  found = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in FILES}
  assert found - {"__init__"} == set(RANK)


@pytest.mark.parametrize(
  "path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_imports_flow_one_way(path):
  ours = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
  if ours == "__init__":
    return
  for name in imports(path):
    theirs = place(name)
    if theirs is None:
      continue
    assert RANK[theirs] <= RANK[ours], f"{path.name} imports {name}"
    if {ours, theirs} == {"data", "models"}:
      pytest.fail(f"{path.name} imports {name}: data and models meet")


def test_nothing_imports_tensorflow():
  for path in FILES:
    for name in imports(path):
      assert name.split(".")[0] != "tensorflow", path


@pytest.mark.parametrize(
  ("module", "absent"),
  [
    ("item_jax", {"jax", "flax", "numpy"}),
    ("item_jax.data.pipeline", {"tensorflow", "flax", "optax"}),
    ("item_jax.data.prepare", {"tensorflow", "flax", "apache_beam"}),
    ("item_jax.evaluation.search", {"jax", "tensorflow"}),
    ("item_jax.evaluation.retrieval", {"jax", "tensorflow"}),
    ("item_jax.commands.evaluate", {"jax", "tensorflow"}),
    ("item_jax.evaluation.report", {"jax", "tensorflow"}),
    ("item_jax.evaluation.trivial", {"jax", "tensorflow"}),
    ("item_jax.evaluation.variants", {"jax", "tensorflow"}),
    ("item_jax.evaluation.probe", {"jax", "tensorflow", "matplotlib"}),
    ("item_jax.evaluation.fusion", {"jax", "tensorflow"}),
    ("item_jax.evaluation.embed", {"tensorflow"}),
    ("item_jax.training.loop", {"tensorflow"}),
  ],
)
def test_a_module_loads_without(module, absent):
  code = f"import sys, {module}; print(sorted({absent!r} & set(sys.modules)))"
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"
