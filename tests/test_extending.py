"""The examples of docs/extending.md work as a package outside of this one."""

import importlib
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from item_jax.__main__ import main
from item_jax.training.restore import restore

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
SMALL = [
  "--config.steps=2",
  "--config.optim.warmup=1",
  "--config.batch_size=8",
  "--config.log_every=1",
  "--config.eval_every=2",
  "--config.model.image_size=16",
  "--config.model.patch=8",
  "--config.model.max_title_tokens=12",
  "--config.model.layers=1",
  "--config.model.width=32",
  "--config.model.heads=2",
  "--config.model.mlp=64",
  "--config.model.dtype=float32",
]


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
  """The page's code in the files that it names, on Python's path."""
  blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(), re.S)
  assert {"my_package/colour.py", "my_package/bag.py"} <= {n for n, _ in blocks}
  for name, code in blocks:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  yield tmp_path / "my_package"
  for name in [name for name in sys.modules if name.startswith("my_package")]:
    del sys.modules[name]


def train(package: Path, config: str, data: Path, *flags: str) -> list[dict]:
  """The rows of metrics.jsonl; the workdir is package/run."""
  line = [f"--config={package / config}", f"--config.data.path={data}"]
  workdir = package / "run"
  assert main(["train", *line, f"--workdir={workdir}", *SMALL, *flags]) == 0
  rows = (workdir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(row) for row in rows]


def test_an_objective_joins_the_five(package, tiny_data):
  rows = train(
    package, "colour_config.py", tiny_data, "--config.extra.colour.weight=0.25"
  )
  last = next(row for row in reversed(rows) if "colour" in row)
  five = sum(last[name] for name in ("itm", "mlm", "mim", "gmlm", "gmim"))
  assert last["loss"] == pytest.approx(five + 0.25 * last["colour"], rel=1e-5)
  run = restore(package / "run")
  assert run.run.config.extra == {"colour": {"weight": 0.25}}
  saved = json.loads((package / "run" / "run.json").read_text())
  # At chance level: the variance of colours between 0 and 1.
  assert 0 < saved["floors"]["colour"] < 0.25
  assert run.params["colour_head"]["kernel"].shape == (32, 3)
  assert (np.asarray(run.params["colour_head"]["kernel"]) != 0).any()


def test_a_model_trains_and_exports(package, tiny_data):
  rows = train(
    package,
    "bag_config.py",
    tiny_data,
    "--config.checkpoint.best=category/accuracy",
  )
  assert any("category/accuracy" in row for row in rows)
  out = package / "export"
  line = [f"--workdir={package / 'run'}", f"--data={tiny_data}"]
  assert main(["export", *line, "--split=test", f"--out={out}"]) == 0
  vectors = np.load(out / "embeddings.npy")
  assert vectors.shape[1] == 32
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_task_may_be_the_objective_without_the_five(package):
  from item_jax import tasks
  from item_jax.config import Config
  from item_jax.diagnostics.plan import Vocabulary

  with (package / "colour.py").open("a") as file:
    file.write(
      "\nfrom item_jax.components import TaskSpec\n"
      'TASK = TaskSpec(objectives=("my_package.colour:make_objective",))\n'
    )
  config = Config()
  config.task = "my_package.colour:TASK"
  task = tasks.make_task(config, Vocabulary(100))
  assert task.objective.weights == {"colour": 0.5}
  shapes = jax.eval_shape(task.init, jax.random.key(0))
  assert "colour_head" in shapes
  assert "match_head" not in shapes
