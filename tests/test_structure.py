"""Imports flow one way, and scoring needs no device."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "item_jax"

# A module imports from its own layer and from those before it. Rooms of one
# layer stand side by side and never meet.
LAYERS = (
  {"errors", "files", "remote", "registry", "batch", "listing"}
  | {"process_wide"},
  {"config", "config_align", "config_baselines", "config_check", "config_group"}
  | {"config_products", "components"},
  {"distributed"},
  {"bars", "new_folder", "object_store", "config_flags", "workers"},
  {"data", "models"},
  {"ingest", "synthetic", "objectives"},
  {"pretrained", "evaluation"},
  {"tasks"},
  {"training"},
  {"inference"},
  {"comparison"},
  {"diagnostics"},
  {"cli"},
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
    if RANK[ours] == RANK[theirs] and ours != theirs:
      both_rooms = (PACKAGE / ours).is_dir() and (PACKAGE / theirs).is_dir()
      assert not both_rooms, f"{path.name} imports {name} of a room beside it"


def test_scoring_needs_no_device():
  names = [
    ".".join(("item_jax.evaluation", path.stem))
    for path in (PACKAGE / "evaluation").glob("*.py")
    if path.stem != "__init__"
  ]
  code = f"import sys, {', '.join(names)}; print('jax' in sys.modules)"
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
  "path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_the_command_line_alone_prints(path):
  if path.relative_to(PACKAGE).parts[0] in ("cli", "__main__.py"):
    return
  calls = [
    node.lineno
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Name)
    and node.func.id == "print"
  ]
  assert not calls, f"{path.name} prints on lines {calls}"


@pytest.mark.parametrize(
  "path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_files_and_functions_are_short(path):
  text = path.read_text()
  assert len(text.splitlines()) <= 320
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.FunctionDef):
      lines = (node.end_lineno or 0) - node.lineno + 1
      assert lines <= 80, f"{path.name}: {node.name} has {lines} lines"


def test_every_bar_is_made_in_one_place():
  makers = [
    path.name
    for path in FILES
    if any(name.split(".")[0] == "tqdm" for name in imports(path))
  ]
  assert makers == ["bars.py"]


def test_nothing_imports_tensorflow():
  for path in FILES:
    for name in imports(path):
      assert name.split(".")[0] != "tensorflow", path


@pytest.mark.parametrize(
  ("module", "absent"),
  [
    ("item_jax", {"jax", "flax", "numpy"}),
    ("item_jax.data.pipeline", {"tensorflow", "flax", "optax"}),
    ("item_jax.ingest.prepare", {"tensorflow", "flax", "apache_beam"}),
    ("item_jax.cli.evaluate", {"jax", "tensorflow"}),
    ("item_jax.evaluation.probe", {"matplotlib"}),
    ("item_jax.inference.embedder", {"tensorflow"}),
    ("item_jax.training.loop", {"tensorflow"}),
  ],
)
def test_a_module_loads_without(module, absent):
  code = f"import sys, {module}; print(sorted({absent!r} & set(sys.modules)))"
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"
