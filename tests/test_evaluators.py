"""Laws of what measures a run while it trains, also from other packages."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import shell
import tiny_run

from item_jax.config import Config, flatten, from_flat
from item_jax.errors import UserError
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.evaluators import (
  Evaluators,
  find_evaluator,
  with_best,
)
from item_jax.training.loop import train

PAGE = Path(__file__).parents[1] / "docs" / "extending_evaluator.md"
TASK = SimpleNamespace(
  modalities=("both",), predict=None, pools=("own",), parts={}
)


@pytest.fixture
def write(tmp_path, monkeypatch):
  """Writes modules of another package."""
  monkeypatch.syspath_prepend(tmp_path)

  def write(name: str, code: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    return path

  yield write
  for name in [n for n in sys.modules if n.startswith(("my_", "mine"))]:
    del sys.modules[name]


def config_of(*evaluators: str, best: str = "both/map@10") -> Config:
  config = Config()
  config.evaluators = evaluators
  config.checkpoint.best = best
  return config


def call(*evaluators: str, best: str):
  config = config_of(*evaluators, best=best)
  setup = SimpleNamespace(config=config, task=TASK)
  return Evaluators(setup)("params", lambda: False)


def test_the_page_s_evaluator_ranks_the_checkpoints(
  write, tiny_data, tmp_path, caplog
):
  caplog.set_level("INFO")
  for block in re.findall(r"```python\n# (.*?)\n```", PAGE.read_text(), re.S):
    name, _, code = block.partition("\n")
    write(name, code)
  from my_config import get_config

  config = tiny_run.get_config("roberta")  # quickly compiled
  config.data.path = str(tiny_data)
  config.eval_every = config.checkpoint.every = 2
  config.evaluators = get_config().evaluators
  config.checkpoint.best = get_config().checkpoint.best
  workdir = tmp_path / "run"
  run = train(config, workdir)
  rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  found = {row["step"]: row for row in rows if row["kind"] == "eval"}
  assert found.keys() == {2, 4}
  assert found[4].keys() >= {"spread", "both/map@10"}
  assert 0 < found[4]["spread"] < 1
  best = max(found, key=lambda step: (found[step]["spread"], step))
  assert Checkpoints(workdir, read_only=True).best_step() == best
  # The finished run says the same.
  assert (run.step, run.best_step, run.workdir) == (4, best, workdir)
  assert run.metrics["spread"] == pytest.approx(found[4]["spread"])
  assert json.loads(json.dumps(run.to_dict()))["device"] == run.device
  assert f"best checkpoint by spread: step {best}" in str(run)
  assert f"spread {found[4]['spread']:.3f}" in caplog.text
  # And once more, when there is nothing left to do.
  assert train(config, workdir) == run


def test_names_of_the_command_line_are_a_tuple(tiny_data, tmp_path):
  words = shell.train_words(
    tiny_data,
    tmp_path / "run",
    "--config.evaluators=('mine:no_such',)",
    variant="short",
  )
  output = shell.run(*words, code=2)
  assert "config.evaluators=mine:no_such" in output


def test_evaluators_that_cannot_be_found_are_named(write):
  write("mine.py", "")
  for name, problem in (
    ("retreival", "expected one of retrieval"),
    ("no_such:f", "no_such"),
    ("mine:f", "mine has no f"),
  ):
    with pytest.raises(UserError, match=f"config.evaluators={name}.*{problem}"):
      find_evaluator(name)


def test_a_best_that_no_evaluator_measures_is_refused_as_soon_as_known(write):
  write(
    "mine.py",
    "def f(params, setup, should_stop): return {'a': 1}\n"
    "def g(params, setup, should_stop): return {'b': 1}\n"
    "g.names = lambda task: ['b']\n",
  )
  with pytest.raises(
    UserError, match=r"best='a'.* evaluators mine:g measure b"
  ):
    with_best(config_of("mine:g", best="a"), TASK, new=True)
  with_best(config_of("mine:g", "retrieval"), TASK, new=True)
  with_best(config_of("mine:g", "mine:f", best="a"), TASK, new=True)  # it may
  with_best(config_of(best="a"), TASK, new=True)  # nothing is ever ranked
  assert call("mine:f", "mine:g", best="a") == {"a": 1, "b": 1}
  with pytest.raises(UserError, match=r"best='c'.* mine:f, mine:g measured a"):
    call("mine:f", "mine:g", best="c")


def test_errors_name_the_evaluator(write):
  write(
    "mine.py",
    "def f(params, setup, should_stop): return {'a': 1}\n"
    "def twice(params, setup, should_stop): return {'a': 2}\n"
    "def text(params, setup, should_stop): return {'b': 'x'}\n"
    "def nothing(params, setup, should_stop): pass\n"
    "def fails(params, setup, should_stop): return {'b': 1 / 0}\n",
  )
  with pytest.raises(UserError, match="'mine:f' and 'mine:twice' both measure"):
    call("mine:f", "mine:twice", best="a")
  with pytest.raises(UserError, match="'mine:text' gave b='x'"):
    call("mine:text", best="b")
  with pytest.raises(UserError, match="'mine:nothing' gave None: expected"):
    call("mine:nothing", best="b")
  with pytest.raises(ZeroDivisionError) as raised:
    call("mine:fails", best="b")
  assert raised.value.__notes__ == ["raised by the evaluator 'mine:fails'"]


def test_a_class_is_made_once(write):
  write(
    "mine.py",
    "class Count:\n"
    "  def __init__(self, setup): self.calls = 0\n"
    "  def __call__(self, params, setup, should_stop):\n"
    "    self.calls += 1\n"
    "    return {'calls': self.calls}\n",
  )
  config = config_of("mine:Count", best="calls")
  evaluators = Evaluators(SimpleNamespace(config=config, task=TASK))
  found = [evaluators("params", lambda: False)["calls"] for _ in range(3)]
  assert found == [1, 2, 3]


def test_a_run_that_was_saved_before_there_were_evaluators_opens():
  flat = flatten(Config())
  del flat["evaluators"]
  assert from_flat(flat) == Config()
  as_json = json.loads(json.dumps(flatten(config_of("mine:f"))))
  assert from_flat(as_json).evaluators == ("mine:f",)
