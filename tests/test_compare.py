"""One command for the whole table: resumed, refused, made from the shell."""

import hashlib
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import shell
from exports import finish_export, write_export
from safetensors.numpy import save_file

from item_jax.__main__ import main
from item_jax.cli import compare as cli
from item_jax.comparison import baselines, hybrids, score
from item_jax.comparison.compare import compare, estimate, report
from item_jax.comparison.request import Request, make_job
from item_jax.comparison.score import Category
from item_jax.config import RENAMED
from item_jax.data.records import open_dataset
from item_jax.diagnostics.verify import verify
from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.fusion import fuse
from item_jax.evaluation.items import open_export
from item_jax.evaluation.labels import NothingToScore
from item_jax.evaluation.sources import open_source
from item_jax.files import write_manifest

CONFIGS = Path(__file__).parents[1] / "configs"
# Validation MAP@10 by learning rate: each system has its own best.
BEST = {"item": 2e-3, "resnet50": 6e-4, "roberta": 6e-3, "clip": 2e-3}


def options(words) -> dict[str, str]:
  pairs = [w.removeprefix("--").split("=", 1) for w in words if "=" in w]
  return {name.removeprefix("config."): value for name, value in pairs}


class Fake:
  """Stands for the commands: writes what each would, and keeps count.

  `stop_at`: the call at which Ctrl-C comes. `codes`: exit codes by a part of
  the command.
  """

  def __init__(self):
    self.probe = probe
    self.calls = []
    self.stop_at = None
    self.codes = {}

  def __call__(self, cache, *, jobs):
    return self

  def __enter__(self):
    return self._run

  def __exit__(self, *error):
    pass

  def _run(self, *commands, log) -> int:
    for words in commands:
      code = self._one(words)
      if code:
        return code
    return 0

  def _one(self, words) -> int:
    if self.stop_at is not None and len(self.calls) >= self.stop_at:
      raise KeyboardInterrupt
    words = list(map(str, words))
    given = options(words[1:])
    system = given.get("config", "").partition(":")[2].partition(",")[0]
    self.calls.append((words[0], system, given))
    for part, codes in self.codes.items():
      if part in " ".join(words) and codes:
        code = codes.pop(0)
        if code:
          return code
    overwrite = "--overwrite" in words
    if words[0] == "export" and overwrite:
      shutil.rmtree(given["out"], ignore_errors=True)
    if words[0] == "score":
      score.score_request(Path(words[1]), self.probe)
    elif words[0] == "hybrid":
      hybrids.score_request(Path(words[1]), self.probe)
    elif words[0] == "baseline":
      folder, kind, data, *splits = words[1:]
      baselines.score_baseline(Path(folder), kind, open_dataset(data), splits)
    elif words[0] == "fuse":
      at = words.index("--tune") + 1 if "--tune" in words else 0
      fuse(
        *map(Path, words[1:3]),
        out=Path(given["out"]),
        image_weight=float(given.get("share", 0.5)),
        tune_on=tuple(map(Path, words[at : at + 2])) if at else None,
        overwrite=overwrite,
      )
    else:
      getattr(self, f"_{words[0]}")(given, system)
    return 0

  def _bench(self, given, system):
    facts = {"seconds_per_step": 0.5, "device": "fake"}
    Path(given["json"]).write_text(json.dumps(facts))

  def _train(self, given, system):
    folder = Path(given["workdir"])
    folder.mkdir(parents=True, exist_ok=True)
    if "start_from" in given:  # weights as they are
      return
    best = BEST.get(system, 2e-3)
    found = 1 / (1 + abs(np.log(float(given["optim.lr"]) / best)))
    steps = int(given["steps"])
    rows = [
      {"step": steps, "kind": "train", "samples_per_second": 64.0},
      # What moves least from the random start is ahead at first.
      {"step": steps // 3, "kind": "eval", "both/map@10": 1.1 - found},
      {"step": steps, "kind": "eval", "both/map@10": found},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    (folder / "checkpoints").mkdir(exist_ok=True)

  def _export(self, given, system):
    """Vectors of the product and noise, as good as the system and side are."""
    out = Path(given["out"])
    out.mkdir(parents=True)
    noise = {"item": 1.5, "resnet50": 6.0}.get(out.parts[-4], 2.5)
    random = np.random.default_rng(
      int.from_bytes(hashlib.sha256("/".join(out.parts[-4:]).encode()).digest())
    )
    names = "id,product,category,title,has_image,has_title"
    lines, vectors = [names], []
    for record in open_dataset(given["data"]).source(given["split"]):
      seed = int.from_bytes(hashlib.sha256(record.product_id.encode()).digest())
      centre = np.random.default_rng(seed).standard_normal(8)
      vectors.append(centre + noise * random.standard_normal(8))
      lines.append(f"{record.listing_id},{record.product_id},c,t,1,1")
    np.save(out / "embeddings.npy", np.array(vectors, np.float32))
    (out / "items.csv").write_text("\n".join(lines) + "\n")
    finish_export(
      out,
      checkpoint="/".join(out.parts[-4:-2]),
      modality=given["modality"],
      dims=8,
    )

  def _predict(self, given, system):
    scores = {"accuracy": 0.75, "macro_f1": 0.5, **COUNTS}
    Path(given["json"]).write_text(json.dumps(scores))

  def count(self, *names) -> int:
    return sum(call[0] in names for call in self.calls)

  def trained(self) -> list[tuple]:
    """(system, seed, steps, lr) of every training run."""
    return [
      (system, int(o["seed"]), int(o["steps"]), float(o["optim.lr"]))
      for name, system, o in self.calls
      if name == "train"
    ]


SIDES = {"resnet50": "image", "roberta": "title", "efficientnet_lite0": "image"}


def describe(configs, data):
  return {
    name: {
      "parameters": 1000,
      "flops_per_sample": 10.0,
      "modalities": ["both"]
      if config.model.name in SIDES
      else ["both", "image", "title"],
      "side": SIDES.get(config.model.name),
      "predicts": config.task == "category",
    }
    for name, config in configs.items()
  }


COUNTS = {
  "rows": 7,
  "without_category": 1,
  "unknown_category": 2,
  "classes": 3,
  "classes_with_support": 2,
}


def probe(train, val, test):
  """Stands for the classifier: right about the first half."""
  rows = len(open_source(test).items.ids)
  true_Q = np.arange(rows) % 3
  predicted_Q = np.where(np.arange(rows) < rows // 2, true_Q, 3)
  right = (true_Q == predicted_Q).mean()
  return Category(right, 0.25, COUNTS, np.arange(rows), true_Q, predicted_Q)


def make_request(tiny_data, out, **changes) -> Request:
  return Request(
    data=tiny_data,
    out=out,
    **{
      "systems": "item,resnet50,resnet50+roberta_tuned,clip_tuned,tfidf",
      "config": str(CONFIGS / "comparison.py"),
      "seeds": 2,
      "budget": "100s",
    }
    | changes,
  )


def run_compare(tiny_data, out, fake, **changes) -> int:
  """The exit code of `item-jax compare`."""
  request = make_request(tiny_data, out, **changes)
  return cli.compare(request, commands=fake, describe=describe)


def test_a_system_that_cannot_be_made_is_refused_before_anything(
  tiny_data, tmp_path
):
  overrides = ("--config.optim.accumulate=2",)
  request = make_request(tiny_data, tmp_path / "c", overrides=overrides)
  with pytest.raises(UserError, match=r"resnet50: optim\.accumulate=2"):
    make_job(request)
  assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
  ("systems", "said"),
  [
    ("item,frozen_image", r"frozen_image: .* efficientnet_lite0"),
    ("item,item_stem", r"item_stem: .* efficientnet_lite0"),
  ],
)
def test_weights_that_do_not_fit_are_refused_before_anything(
  tiny_data, tmp_path, systems, said
):
  """And not when it is their row's turn, hours later."""
  file = tmp_path / "other.safetensors"
  save_file({"fc.weight": np.zeros((3, 4), np.float32)}, file)
  request = make_request(
    *(tiny_data, tmp_path / "c"), systems=systems, image_weights=file
  )
  with pytest.raises(UserError, match=said):
    make_job(request)
  file.unlink()
  with pytest.raises(UserError, match=r"other\.safetensors"):
    make_job(request)
  assert not (tmp_path / "c").exists()


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory):
  """A comparison that nothing disturbed, and what it called."""
  out, fake = tmp_path_factory.mktemp("whole") / "c", Fake()
  assert run_compare(tiny_data, out, fake) == 0
  return out, fake


def numbers(out: Path) -> list[dict]:
  return json.loads((out / "comparison.json").read_text())["rows"]


def test_every_system_gets_the_same_budget_and_grid(whole):
  _, fake = whole
  # 100 s at half a second a step as bench has it, a quarter of it for each of
  # three rates. They take a second a step, and so the full runs.
  for system, best in BEST.items():
    runs = [run[1:] for run in fake.trained() if run[0] == system]
    tuning, full = runs[:-2], runs[-2:]
    assert {run[:2] for run in tuning} == {(0, 50)}
    # And beyond an end of the grid, where the best one is that end.
    more = {6e-4: [1.8e-4], 6e-3: [1.8e-2]}.get(best, [])
    rates = [6e-4, 2e-3, 6e-3, *more]
    assert [run[2] for run in tuning] == pytest.approx(rates)
    assert [run[:2] for run in full] == [(0, 100), (1, 100)]
    assert [run[2] for run in full] == pytest.approx([best] * 2)
  assert fake.count("bench") == 4


def test_a_tuning_run_of_all_steps_is_the_first_seeds(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  how = {"systems": "item,roberta,untrained", "tune_share": 1.0}
  assert run_compare(tiny_data, out, fake, budget="30steps", **how) == 0
  # RoBERTa's best is an end of the grid: one more is tried.
  for system, tried in (("item", 3), ("roberta", 4)):
    runs = [run for run in fake.trained() if run[0] == system]
    assert [run[1:3] for run in runs] == [(0, 30)] * tried + [(1, 30)]
  # The winner's checkpoints stay, the others' go.
  kept = sorted(out.glob("runs/item/tune-*/workdir/checkpoints"))
  assert [path.parts[-3] for path in kept] == ["tune-1"]
  exported = {o["workdir"] for name, _, o in fake.calls if name == "export"}
  assert {Path(path).parts[-2] for path in exported} == {
    "tune-1",
    "tune-3",
    "seed-1",
  }


def test_a_time_that_was_not_kept_is_noted(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  how = {"systems": "item", "seeds": 1}
  assert run_compare(tiny_data, out, fake, rates="1", **how) == 0
  # One rate: the steps are bench's, and take twice the time.
  text = (out / "comparison.md").read_text()
  assert "a tenth off or more: item 2.00." in text
  out = tmp_path / "tuned"
  assert run_compare(tiny_data, out, fake, rates="0.1,1", **how) == 0
  text = (out / "comparison.md").read_text()
  assert "divided by the budget" not in text
  assert "others were tried beyond it: item 10." in text
  assert "Still at the edge" not in text
  assert "No rate ended" not in text
  out = tmp_path / "flat"
  assert run_compare(tiny_data, out, fake, rates="0.01,0.02,0.04", **how) == 0
  text = (out / "comparison.md").read_text()
  assert "No rate ended a tenth above its first evaluation" in text


@pytest.mark.parametrize(
  ("rates", "tried", "note"),
  [
    # The best rate is 1; each new one is 1.4 times the one before, or less.
    ("0.5,0.7", [0.5, 0.7, 0.98, 1.4], "beyond it: item 0.98, 1.4."),
    ("2,1.6", [2, 1.6, 1.3, 1.1, 0.93, 0.79], "1.3, 1.1, 0.93, 0.79."),
    ("0.7,0.72", [0.7, 0.72, 0.74, 0.76, 0.78, 0.8], "Still at the edge: item"),
    # Nothing rose: the end is best by standing still.
    ("0.01,0.02", [0.01, 0.02], "says little: item"),
  ],
)
def test_the_grid_grows_where_its_end_is_best(
  tiny_data, tmp_path, rates, tried, note
):
  out, fake = tmp_path / "c", Fake()
  how = {"systems": "item", "seeds": 1, "rates": rates}
  assert run_compare(tiny_data, out, fake, **how) == 0
  factors = [run[3] / 2e-3 for run in fake.trained()[:-1]]
  assert factors == pytest.approx(tried)
  assert note in (out / "comparison.md").read_text()
  assert run_compare(tiny_data, out, again := Fake(), **how) == 0
  assert not again.trained()


def test_the_table_has_a_row_a_system(whole):
  out, _ = whole
  rows = {row["system"]: row for row in numbers(out)}
  assert list(rows) == [
    "item",
    "resnet50",
    "roberta",
    "clip",
    "resnet50+roberta_tuned",
    "clip_tuned",
    "tfidf",
  ]
  item, both = rows["item"], rows["resnet50+roberta_tuned"]
  assert item["cells"].keys() >= {"image/recall@10", "title/map@10", "gap"}
  # What sees one side stands in that side's column, where a reader looks.
  for name, side, other in (
    ("resnet50", "image", "title"),
    ("roberta", "title", "image"),
    ("tfidf", "title", "image"),
  ):
    cells, against = rows[name]["cells"], rows[name]["against"]
    assert cells[f"{side}/recall@10"] == cells["both/recall@10"]
    assert f"{side}/recall@10" in against
    assert f"{other}/recall@10" not in cells.keys() | against.keys()
  assert rows["resnet50"]["cells"]["own/accuracy"]["mean"] == 0.75
  assert "own/accuracy" not in item["cells"]
  assert item["cells"]["category/macro_f1"]["mean"] == 0.25
  # 100 steps of 64 pairs at 64 a second and 10 FLOPs.
  assert item["train_flops"] == 100 * 64 * 10
  assert item["seconds"]["values"] == [100.0, 100.0]
  assert both["train_flops"] == 2 * item["train_flops"]
  assert both["parameters"] == 2000
  assert len(both["counts"]) == 2
  towers = rows["clip_tuned"]
  for row, name in (
    (rows["resnet50"], "both/map@10"),
    (both, "both/map@10"),
    (both, "gap"),
    (towers, "gap"),
    (rows["tfidf"], "title/recall@10"),
  ):
    found = row["against"][name]
    apart = [r["cells"][name]["mean"] for r in (row, item)]
    assert found["difference"] == pytest.approx(apart[0] - apart[1])
    low, high = found["interval"]
    assert low <= found["difference"] <= high
  # Either tower alone is the model's own answer with the other side absent.
  clip = rows["clip"]
  for name in ("image/recall@10", "title/recall@10", "gap"):
    assert towers["cells"][name] == clip["cells"][name]
  assert all("share" in counts for counts in towers["counts"])
  # The same half is right everywhere.
  for name in ("category/accuracy", "category/macro_f1"):
    assert both["against"][name]["difference"] == 0
    assert both["against"][name]["interval"] == [0, 0]
  # One alone is worse than the two together.
  mean = {
    name: row["cells"]["both/map@10"]["mean"] for name, row in rows.items()
  }
  assert mean["resnet50+roberta_tuned"] > mean["resnet50"]
  for name in ("csv", "md", "html"):
    text = (out / f"comparison.{name}").read_text()
    assert all(system in text for system in rows)


def test_what_is_finished_is_not_done_again(tiny_data, whole):
  out, _ = whole
  before, again = numbers(out), Fake()
  assert run_compare(tiny_data, out, again) == 0
  assert again.calls == []
  assert numbers(out) == before


def test_side_by_side_gives_the_same_numbers(tiny_data, tmp_path, whole):
  """Two at once, one of the two interrupted ones in the middle of both."""
  there, undisturbed = whole
  out, first, second = tmp_path / "c", Fake(), Fake()
  first.stop_at = 25
  assert run_compare(tiny_data, out, first, jobs=2) == 75
  assert run_compare(tiny_data, out, second, jobs=2) == 0
  assert numbers(out) == numbers(there)
  runs = first.trained() + second.trained()
  assert sorted(runs) == sorted(undisturbed.trained())


def test_interrupted_at_every_call_ends_the_same(tiny_data, tmp_path, whole):
  """Each call of the program gets four commands further, then Ctrl-C comes."""
  there, undisturbed = whole
  out, seen, codes = tmp_path / "c", [], []
  while not codes or codes[-1] != 0:
    fake = Fake()
    fake.stop_at = 4
    codes.append(run_compare(tiny_data, out, fake))
    seen += fake.calls
    assert len(codes) < 50
  assert set(codes[:-1]) == {75}
  assert len(codes) > 10
  # Only what a kill may leave as a half is made again: the predictions.
  kinds, once = (
    [(name, system) for name, system, _ in calls if name != "predict"]
    for calls in (seen, undisturbed.calls)
  )
  assert kinds == once
  assert numbers(out) == numbers(there)


def test_the_table_of_an_interrupted_one_says_what_is_missing(
  tiny_data, tmp_path, capsys
):
  fake = Fake()
  fake.stop_at = 12
  out = tmp_path / "c"
  assert run_compare(tiny_data, out, fake) == 75
  text = (out / "comparison.md").read_text()
  assert "item (1 of 2 seeds)" in text
  assert "roberta (0 of 2 seeds)" in text
  shutil.rmtree(out / "runs" / "item" / "seed-0" / "exports")
  (out / "comparison.md").unlink()
  report(make_request(tiny_data, out), describe=describe)
  with pytest.raises(UserError, match="nothing begun"):
    report(make_request(tiny_data, tmp_path / "typo"), describe=describe)
  assert not (tmp_path / "typo").exists()
  assert (
    text.split("Scores")[1]
    == ((out / "comparison.md").read_text().split("Scores")[1])
  )


def test_a_run_half_done_is_gone_on_with(tiny_data, tmp_path):
  """Without its result file a run is not finished, whatever is there."""
  out, fake = tmp_path / "c", Fake()
  how = {"systems": "item", "seeds": 1, "rates": "1"}
  assert run_compare(tiny_data, out, fake, **how) == 0
  for name in ("result.json", "scores.json", "values.npz"):
    (out / "runs" / "item" / "seed-0" / name).unlink()
  shutil.rmtree(out / "runs" / "item" / "seed-0" / "exports" / "test-image")
  again = Fake()
  assert run_compare(tiny_data, out, again, **how) == 0
  assert [call[0] for call in again.calls] == ["train", "export", "score"]


def test_a_result_that_was_changed_is_refused(tiny_data, tmp_path):
  out = tmp_path / "c"
  how = {"systems": "tfidf", "seeds": 1}
  assert run_compare(tiny_data, out, Fake(), **how) == 0
  path = out / "runs" / "tfidf" / "seed-0" / "values.npz"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(UserError, match=r"values\.npz is not what"):
    run_compare(tiny_data, out, Fake(), **how)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"budget": "200s"}, "budget: was '100 seconds', is '200 seconds'"),
    ({"budget": None}, 'is "the config\'s steps"'),
    ({"rates": "1,3"}, "rates: was [0.3, 1.0, 3.0], is [1.0, 3.0]"),
    ({"tune_share": 0.5}, "tune_share: was 0.25, is 0.5"),
    ({"split": "val"}, "split: was 'test', is 'val'"),
    ({"size": "small"}, "size: was 'tiny', is 'small'"),
    ({"jobs": 2}, "jobs: was 1, is 2"),
    (
      {"overrides": ("--config.batch_size=32",)},
      "overrides: was [], is ['--config.batch_size=32']",
    ),
  ],
)
def test_another_plan_is_refused_by_name(tiny_data, whole, change, message):
  out, _ = whole
  before = (out / "plan.json").read_bytes()
  fake = Fake()
  with pytest.raises(UserError, match=re.escape(message)):
    run_compare(tiny_data, out, fake, **change)
  assert fake.calls == []
  assert (out / "plan.json").read_bytes() == before


def test_other_data_is_refused_and_moved_data_is_not(
  tiny_data, whole, tmp_path
):
  out, _ = whole
  moved = tmp_path / "moved"
  shutil.copytree(tiny_data, moved)
  fake = Fake()
  assert run_compare(moved, out, fake) == 0
  assert fake.calls == []
  catalogue = json.loads((moved / "catalogue.json").read_text())
  catalogue["fingerprint"]["train"] = "0" * 64
  (moved / "catalogue.json").write_text(json.dumps(catalogue))
  write_manifest(moved)
  with pytest.raises(UserError, match=r"data: was .*moved.* is .*000000"):
    run_compare(moved, out, fake)
  assert run_compare(tiny_data, out, fake) == 0


def test_data_with_another_tokenizer_are_other_data(tiny_data, whole, tmp_path):
  """Rows and photos are the same; what is trained on is not."""
  moved = tmp_path / "moved"
  shutil.copytree(tiny_data, moved)
  catalogue = json.loads((moved / "catalogue.json").read_text())
  catalogue["tokenizer"] = "0" * 64
  (moved / "catalogue.json").write_text(json.dumps(catalogue))
  write_manifest(moved)
  fake = Fake()
  with pytest.raises(UserError, match=r"data: was .*is .*'tokenizer': '0000"):
    run_compare(moved, whole[0], fake)
  assert fake.calls == []


def test_a_table_names_what_made_its_rows(tiny_data, tmp_path):
  """Whoever writes it: a row may be of another version."""
  how = {"systems": "tfidf", "seeds": 1}
  assert run_compare(tiny_data, tmp_path / "c", Fake(), **how) == 0
  path = tmp_path / "c" / "runs" / "tfidf" / "seed-0" / "scores.json"
  scores = json.loads(path.read_text())
  now = scores["versions"]["scikit-learn"]
  scores["versions"]["scikit-learn"] = "0.1"
  path.write_text(json.dumps(scores))
  report(make_request(tiny_data, tmp_path / "c", **how), describe=describe)
  about = json.loads((tmp_path / "c" / "comparison.json").read_text())["about"]
  assert about["versions"]["scikit-learn"] == "0.1" != now


def test_a_changed_config_file_is_refused(tiny_data, tmp_path):
  shutil.copytree(CONFIGS, tmp_path / "configs")
  config = tmp_path / "configs" / "comparison.py"
  how = {"systems": "item", "seeds": 1, "config": str(config)}
  assert run_compare(tiny_data, tmp_path / "c", Fake(), **how) == 0
  size = tmp_path / "configs" / "item_tiny.py"
  was = size.read_text()
  size.write_text(was.replace("optim.lr = 2e-3", "optim.lr = 3e-3"))
  with pytest.raises(UserError, match=r"optim.lr: was 0.002, is 0.003"):
    run_compare(tiny_data, tmp_path / "c", Fake(), **how)
  size.write_text(was)
  text = config.read_text()
  text = text.replace('("resnet50", "roberta")', '("roberta", "resnet50")')
  config.write_text(text)
  with pytest.raises(UserError, match=r"fusions: was .*'resnet50', 'roberta'"):
    run_compare(tiny_data, tmp_path / "c", Fake(), **how)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"seeds": 0}, "seeds=0"),
    ({"tune_share": 0.0}, "tune_share"),
    ({"systems": "item,painter"}, "painter"),
    ({"split": "holdout"}, "holdout"),
    ({"split": "val"}, "split='val' is what learning rates and checkpoints"),
    ({"split": "train"}, "split='train' is what training reads too"),
    ({"split": "train", "systems": "tfidf"}, "split='train' is what training"),
    ({"split": "val", "systems": "thumbnail"}, "split='val' is what learning"),
    ({"overrides": ("--config.steps=0",)}, "item: steps=0 trains nothing"),
    ({"config": "no.py"}, "no.py"),
    ({"overrides": ("--colour=red",)}, "--colour=red"),
    ({"overrides": ("--config.seed=3",)}, "seed: compare sets"),
    ({"overrides": ("--config.colour=3",)}, "colour"),
  ],
)
def test_what_cannot_work_is_refused_before_anything(
  tiny_data, tmp_path, change, message
):
  with pytest.raises(UserError, match=re.escape(message)):
    run_compare(tiny_data, tmp_path / "c", Fake(), **change)
  assert not (tmp_path / "c").exists()


def test_a_plan_of_an_earlier_version_is_gone_on_with(tiny_data, tmp_path):
  """Its configs have the former names of options."""
  out, how = tmp_path / "c", {"systems": "item", "seeds": 1, "rates": "1"}
  assert run_compare(tiny_data, out, Fake(), **how) == 0
  plan = json.loads((out / "plan.json").read_text())
  config = plan["systems"]["item"]["config"]
  for former, name in RENAMED.items():
    config[former] = config.pop(name)
  (out / "plan.json").write_text(json.dumps(plan))
  assert run_compare(tiny_data, out, again := Fake(), **how) == 0
  assert again.calls == []


def test_more_systems_and_seeds_may_follow(tiny_data, tmp_path):
  out = tmp_path / "c"
  assert run_compare(tiny_data, out, Fake(), systems="item", seeds=1) == 0
  fake = Fake()
  assert run_compare(tiny_data, out, fake, systems="item,roberta", seeds=2) == 0
  runs = [
    (system, seed) for system, seed, steps, _ in fake.trained() if steps == 100
  ]
  assert runs == [("roberta", 0), ("item", 1), ("roberta", 1)]


def test_a_system_that_fails_does_not_stop_the_others(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  fake.codes = {
    "train --config=" + str(CONFIGS / "comparison.py:resnet50"): [1]
  }
  how = {"seeds": 1, "rates": "1"}
  log = out / "runs" / "resnet50" / "seed-0" / "log.txt"
  log.parent.mkdir(parents=True)
  log.write_text("Traceback\nMemoryError: all gone\n")
  assert run_compare(tiny_data, out, fake, **how) == 4
  rows = {row["system"]: row for row in numbers(out)}
  assert rows["resnet50"]["missing"] == 1
  assert rows["roberta"]["missing"] == 0
  text = (out / "comparison.md").read_text()
  assert re.search("Failed: resnet50, seed 0: .* MemoryError: all gone", text)
  assert run_compare(tiny_data, out, Fake(), **how) == 0
  assert "Failed" not in (out / "comparison.md").read_text()


def test_no_rate_that_ends_is_one_rows_loss(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  bad = json.dumps({"step": 9, "kind": "bad", "in_a_row": 10}) + "\n"
  for rate in ("0.3", "1", "3"):
    workdir = out / "runs" / "item" / f"tune-{rate}" / "workdir"
    workdir.mkdir(parents=True)
    (workdir / "metrics.jsonl").write_text(bad)
  fake.codes = {"item,tiny --workdir": [4] * 3}
  how = {"seeds": 1, "systems": "item,untrained,tfidf"}
  assert run_compare(tiny_data, out, fake, **how) == 4
  rows = {row["system"]: row for row in numbers(out)}
  assert [row["missing"] for row in rows.values()] == [1, 1, 0]
  text = (out / "comparison.md").read_text()
  assert "Failed: item, seed 0: no run at [0.3, 1.0, 3.0] times" in text
  assert "Failed: untrained, seed 0: item has no learning rate yet" in text


def test_what_is_made_of_a_failed_row_says_so(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  fake.codes = {"roberta,tiny --workdir": [1]}
  how = {"seeds": 1, "systems": "resnet50+roberta"}
  assert run_compare(tiny_data, out, fake, **how) == 4
  rows = {row["system"]: row for row in numbers(out)}
  assert rows["resnet50"]["missing"] == 0
  text = (out / "comparison.md").read_text()
  assert "resnet50+roberta, seed 0: roberta has no learning rate yet" in text


def test_what_failed_says_why_until_it_has_scores(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  fake.codes = {"roberta,tiny --workdir": [1] * 9}
  how = {"seeds": 2, "systems": "resnet50,roberta", "rates": "1"}
  request = make_request(tiny_data, out, **how)
  assert run_compare(tiny_data, out, fake, **how) == 4
  names = ["roberta, seed 0", "roberta, seed 1"]
  for found in (report(request, describe=describe),) * 2:
    assert [*found.failures] == names
    assert "Failed: roberta, seed 0: train ended with 1" in str(found)
  # Stopped before it is tried again, it has still failed.
  fake.stop_at = len(fake.calls)
  assert run_compare(tiny_data, out, fake, **how) == 75
  assert [*report(request, describe=describe).failures] == names
  only = make_request(tiny_data, out, **how | {"systems": "resnet50"})
  assert not report(only, describe=describe).failures
  report(request, describe=describe)
  assert run_compare(tiny_data, out, Fake(), **how) == 0
  assert not report(request, describe=describe).failures


@pytest.mark.parametrize("content", ["", '{"about": ', "5", '{"x": 1}', "[1]"])
def test_altered_tables_are_made_anew(tiny_data, tmp_path, content):
  out, fake = tmp_path / "c", Fake()
  how = {"seeds": 1, "systems": "roberta", "rates": "1"}
  assert run_compare(tiny_data, out, fake, **how) == 0
  tables, done = out / "comparison.json", len(fake.calls)
  rows = numbers(out)
  tables.write_text(content)
  request = make_request(tiny_data, out, **how)
  assert not report(request, describe=describe).failures
  assert numbers(out) == rows
  tables.write_text(content)
  assert run_compare(tiny_data, out, fake, **how) == 0
  assert numbers(out) == rows
  assert len(fake.calls) == done


def test_only_a_lack_of_categories_is_a_result(tiny_data, tmp_path):
  def lacking(train, val, test):
    raise NothingToScore("the training rows have 1 categories")

  def broken(train, val, test):
    raise UserError("row 3 is not finite")

  out, fake = tmp_path / "c", Fake()
  how = {"systems": "item", "seeds": 1, "rates": "1"}
  fake.probe = broken
  assert run_compare(tiny_data, out, fake, **how) == 4
  text = (out / "comparison.md").read_text()
  assert "Failed: item, seed 0: row 3 is not finite" in text
  fake.probe = lacking
  assert run_compare(tiny_data, out, fake, **how) == 0
  text = (out / "comparison.md").read_text()
  assert "No category of item: the training rows have 1 categories." in text


def test_stopped_by_somebody_else_training_goes_on(tiny_data, tmp_path):
  fake = Fake()
  fake.codes = {"seed-0": [75, 75]}
  how = {"systems": "item", "seeds": 1, "rates": "1"}
  assert run_compare(tiny_data, tmp_path / "c", fake, **how) == 0
  first, second, third = (c for c in fake.calls if c[0] == "train")
  assert first == second == third


def test_a_diverged_run_is_a_result_of_none(tiny_data, tmp_path):
  out, fake = tmp_path / "c", Fake()
  workdir = out / "runs" / "item" / "seed-0" / "workdir"
  workdir.mkdir(parents=True)
  bad = {"step": 9, "kind": "bad", "in_a_row": 10}
  (workdir / "metrics.jsonl").write_text(json.dumps(bad) + "\n")
  fake.codes = {"train": [4]}
  how = {"systems": "item", "seeds": 2, "rates": "1"}
  assert run_compare(tiny_data, out, fake, **how) == 4
  (row,) = numbers(out)
  assert row["seeds"] == [1]
  assert "diverged" in (out / "comparison.md").read_text()
  # It would diverge again: nothing is trained twice.
  again = Fake()
  assert run_compare(tiny_data, out, again, **how) == 4
  assert again.calls == []


def test_half_a_row_of_a_log_costs_no_table(tiny_data, tmp_path):
  """A full disk leaves one: the run failed, and says so; the others go on."""
  out, fake = tmp_path / "c", Fake()
  workdir = out / "runs" / "item" / "seed-0" / "workdir"
  workdir.mkdir(parents=True)
  (workdir / "metrics.jsonl").write_text('{"step": 9, "ki')
  fake.codes = {"train": [4]}
  how = {"systems": "item,tfidf", "seeds": 1, "rates": "1"}
  assert run_compare(tiny_data, out, fake, **how) == 4
  assert "train ended with 4" in (out / "comparison.md").read_text()
  assert [row["system"] for row in numbers(out)] == ["item", "tfidf"]


@pytest.mark.parametrize("line", ["[7]", '{"step": 9}', '{"kind": "eval"}'])
def test_a_line_that_is_no_row_of_a_run_costs_no_table(
  line, tiny_data, tmp_path
):
  class Marked(Fake):
    def _train(self, given, system):
      super()._train(given, system)
      with (Path(given["workdir"]) / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")

  how = {"systems": "item", "seeds": 1}
  assert run_compare(tiny_data, tmp_path / "c", Marked(), **how) == 0


def test_a_damaged_export_is_made_again(tiny_data, tmp_path):
  out, how = tmp_path / "c", {"systems": "item", "seeds": 1, "rates": "1"}
  assert run_compare(tiny_data, out, Fake(), **how) == 0
  seed = out / "runs" / "item" / "seed-0"
  vectors = seed / "exports" / "test-both" / "embeddings.npy"
  data = bytearray(vectors.read_bytes())
  data[-9] ^= 1
  vectors.write_bytes(data)
  (seed / score.SCORES_FILE).unlink()
  again = Fake()
  assert run_compare(tiny_data, out, again, **how) == 0
  (export,) = (given for what, _, given in again.calls if what == "export")
  assert export["out"] == str(vectors.parent)
  assert score.read(seed) is not None


def test_the_command_prints_what_the_library_returns(
  tiny_data, tmp_path, capsys, caplog
):
  out = tmp_path / "c"
  how = {"systems": "tfidf", "seeds": 1}
  request = make_request(tiny_data, out, **how)
  with caplog.at_level("INFO", logger="item_jax"):
    found = compare(request, commands=Fake(), describe=describe)
  assert caplog.messages == ["tfidf: scores"]
  assert capsys.readouterr().out == ""
  assert str(found) == (out / "comparison.md").read_text()
  assert found.to_dict() == json.loads((out / "comparison.json").read_text())
  (line,) = found.to_frame().to_dict("records")
  assert (
    line["both/recall@10 mean"]
    == found.rows[0]["cells"]["both/recall@10"]["mean"]
  )
  assert "<th>recall@10</th>" in found._repr_html_()
  words = ["compare", f"--data={tiny_data}", f"--out={out}", "--systems=tfidf"]
  words += ["--seeds=1", "--budget=100s", f"--config={request.config}"]
  assert main([*words, "--report_only"]) == 0
  assert capsys.readouterr().out.startswith(str(found).split("- ")[0])
  assert main([*words, "--dry_run"]) == 0
  assert "nothing to train for: tfidf" in capsys.readouterr().out
  assert main(words) == 0
  assert "| tfidf |" in capsys.readouterr().out


@pytest.mark.parametrize("device", [None, "H200"])
def test_the_device_is_the_runs(tiny_data, tmp_path, device):
  """As run.json names it; runs of earlier versions name it in their log."""
  workdir = tmp_path / "c" / "runs" / "item" / "seed-0" / "workdir"
  workdir.mkdir(parents=True)
  run = {"attention": "xla"} | ({"device": device} if device else {})
  (workdir / "run.json").write_text(json.dumps(run))
  log = "1,234 parameters on {'data': 1, 'fsdp': 1} cpu devices\n"
  (workdir.parent / "log.txt").write_text(log)
  how = {"systems": "tfidf", "seeds": 1}
  assert run_compare(tiny_data, tmp_path / "c", Fake(), **how) == 0
  about = json.loads((tmp_path / "c" / "comparison.json").read_text())["about"]
  assert about["device"].startswith(f"{device or 'cpu'}, ")


def test_two_at_once_are_refused(tiny_data, tmp_path):
  class Nested(Fake):
    def _bench(self, given, system):
      with pytest.raises(UserError, match="another comparison is at work"):
        run_compare(tiny_data, tmp_path / "c", Fake())
      super()._bench(given, system)

  assert run_compare(tiny_data, tmp_path / "c", Nested(), systems="item") == 0


HYBRIDS = "frozen_image,frozen_image+tfidf,item+tfidf"


@pytest.fixture(scope="module")
def with_hybrids(tiny_data, tmp_path_factory):
  """A comparison with rows of weights and of hybrids, and what it called."""
  out, fake = tmp_path_factory.mktemp("hybrids") / "c", Fake()
  how = {"systems": HYBRIDS, "image_weights": Path("W")}
  assert run_compare(tiny_data, out, fake, **how) == 0
  return out, fake


def test_weights_are_taken_once_as_they_are(with_hybrids):
  out, fake = with_hybrids
  made = [o for name, what, o in fake.calls if what == "frozen_image"]
  (train,) = [one for one in made if "workdir" in one]
  assert train["start_from"] == "W"
  assert "steps" not in train
  assert not (out / "runs" / "frozen_image" / "seed-1").exists()
  rows = {row["system"]: row for row in numbers(out)}
  seeds = {name: row["seeds"] for name, row in rows.items()}
  assert seeds == {
    "item": [0, 1],
    "tfidf": [0],
    "frozen_image": [0],
    "frozen_image+tfidf": [0],
    "item+tfidf": [0, 1],
  }
  frozen = rows["frozen_image"]
  assert frozen["cells"]["image/map@10"] == frozen["cells"]["both/map@10"]
  assert (frozen["parameters"], frozen["train_flops"]) == (1000, 0)
  joined = rows["item+tfidf"]
  for name in ("parameters", "train_flops", "seconds"):
    assert joined[name] == rows["item"][name]


def test_a_hybrid_is_what_fuse_makes_of_its_parts(tiny_data, with_hybrids):
  out, _ = with_hybrids
  (row,) = [r for r in numbers(out) if r["system"] == "item+tfidf"]
  exports = out / "runs" / "item" / "seed-1" / "exports"
  test, val, train = (
    [exports / f"{s}-both", "tfidf"] for s in ("test", "val", "train")
  )
  fused = fuse(*test, tune_on=val, fit_on=train, data=tiny_data)
  for name in score.MEASURES:
    found = retrieval.score(fused, bootstrap=0).summary[name]
    assert row["cells"][f"both/{name}"]["values"][1] == found
  assert row["validation"]["values"][1] == max(fused.tried.values())
  chosen = row["counts"][1]
  assert chosen["weights"] == list(fused.weights)
  text = (out / "comparison.md").read_text()
  assert f"tfidf {fused.weights[1]:g} (as it is)" in text


def test_every_row_is_measured_on_validation(tiny_data, with_hybrids):
  out, _ = with_hybrids
  rows = {row["system"]: row for row in numbers(out)}
  assert all(row["validation"] for row in rows.values())
  exports = out / "runs" / "item" / "seed-0" / "exports"
  for name, what in (("item", exports / "val-both"), ("tfidf", "tfidf")):
    found = retrieval.score(what, data=tiny_data, split="val", bootstrap=0)
    assert rows[name]["validation"]["values"][0] == found.summary["map@10"]


def test_what_starts_from_weights_by_an_option_needs_them(tiny_data, tmp_path):
  out, overrides = tmp_path / "c", ("--config.start_from=W",)
  how = {"systems": "untrained,item+tfidf", "rates": "1"}
  assert run_compare(tiny_data, out, Fake(), overrides=overrides, **how) == 0
  needs = {row["system"]: row["needs"] for row in numbers(out)}
  assert needs == {
    "item": ["weights"],
    "untrained": ["weights"],
    "tfidf": [],
    "item+tfidf": ["weights"],
  }
  text = (out / "comparison.md").read_text()
  assert "before any step, is one more to take for item." in text


def test_a_start_that_is_drawn_is_no_checkpoint_to_take(tiny_data, tmp_path):
  out = tmp_path / "c"
  how = {"systems": "item,item_sides,item_products_sides", "rates": "1"}
  assert run_compare(tiny_data, out, Fake(), **how) == 0
  text = (out / "comparison.md").read_text()
  assert "one more to take for item_sides, item_products_sides." in text


def test_what_a_row_needs_is_said_and_orders_the_table(tiny_data, tmp_path):
  out = tmp_path / "c"
  systems = "item_supervised+tfidf,item_products,frozen_text,untrained"
  how = {"systems": systems, "text_weights": Path("W"), "rates": "1"}
  assert run_compare(tiny_data, out, Fake(), seeds=1, **how) == 0
  table = (out / "comparison.md").read_text().partition("Less item")[0]
  cells = [line.split(" | ")[:2] for line in table.splitlines() if "|" in line]
  assert [(name.removeprefix("| "), needs) for name, needs in cells[2:]] == [
    ("item", "nothing"),
    ("untrained", "nothing"),
    ("tfidf", "nothing"),
    ("frozen_text", "weights"),
    ("item_products", "product ids"),
    ("item_supervised", "categories"),
    ("item_supervised+tfidf", "categories"),
  ]
  about = json.loads((out / "comparison.json").read_text())["about"]
  assert [one["kind"] for one in about["take"]] == [
    "without training",
    "trained without labels",
    "trained with labels",
  ]
  assert about["take"][1]["system"] == "item"
  for name in ("md", "html"):
    assert about["headline"] in (out / f"comparison.{name}").read_text()
  # What an earlier version scored has no such measure, and opens.
  path = out / "runs" / "item" / "seed-0" / "scores.json"
  scores = json.loads(path.read_text())
  del scores["counts"]["validation"]
  path.write_text(json.dumps(scores))
  assert run_compare(tiny_data, out, again := Fake(), seeds=1, **how) == 0
  assert again.calls == []
  text = (out / "comparison.md").read_text()
  assert "trained without labels" not in text
  assert "having no MAP@10 on validation: item." in text


def test_an_interrupted_hybrid_is_gone_on_with(
  tiny_data, tmp_path, with_hybrids
):
  there, undisturbed = with_hybrids
  out, seen, code = tmp_path / "c", 0, 75
  how = {"systems": HYBRIDS, "image_weights": Path("W")}
  while code == 75:
    fake = Fake()
    fake.stop_at = 5
    code = run_compare(tiny_data, out, fake, **how)
    seen += len(fake.calls)
  assert code == 0
  assert seen == len(undisturbed.calls)
  assert numbers(out) == numbers(there)


def test_rows_without_their_weights_are_left_out_or_refused(
  tiny_data, tmp_path
):
  with pytest.raises(
    UserError, match=r"frozen_text\+tfidf needs .*: --text_weights=FOLDER"
  ):
    run_compare(tiny_data, tmp_path, Fake(), systems="frozen_text+tfidf")
  how = {"systems": "all", "image_weights": Path("W")}
  job = make_job(make_request(tiny_data, tmp_path, **how), describe)
  names = {row.name for row in job.rows}
  assert {"frozen_image", "frozen_image+tfidf", "item+tfidf"} <= names
  absent = ["frozen_text", "frozen_text+tfidf", "frozen_image+frozen_text"]
  absent.append("frozen_image+frozen_text+tfidf")
  assert not names & set(absent)
  assert job.left_out == {"--text_weights": absent}
  text = estimated(tiny_data, tmp_path, **how)
  assert f"left out, without --text_weights: {', '.join(absent)}" in text


def test_weights_take_the_options_of_the_data_alone(tiny_data, tmp_path):
  overrides = ("--config.data.read_threads=3", "--config.optim.clip=2")
  how = {"systems": "item,frozen_image", "image_weights": Path("W")}
  request = make_request(tiny_data, tmp_path, overrides=overrides, **how)
  job = make_job(request, describe)
  assert job.options("item") == list(overrides)
  assert job.options("frozen_image") == [
    overrides[0],
    "--config.start_from=W",
  ]


def test_a_hybrid_of_what_is_not_there_is_refused(tiny_data, tmp_path):
  shutil.copytree(CONFIGS, tmp_path / "configs")
  config = tmp_path / "configs" / "comparison.py"
  config.write_text(config.read_text() + 'HYBRIDS = ("item+bert",)\n')
  with pytest.raises(UserError, match=r"HYBRIDS has 'item\+bert'; expected"):
    run_compare(tiny_data, tmp_path / "c", Fake(), config=str(config))


def estimated(tiny_data, out, **changes) -> str:
  return str(
    estimate(make_request(tiny_data, out, **changes), describe=describe)
  )


def test_an_estimate_tells_the_cost_and_writes_nothing(tiny_data, tmp_path):
  out = tmp_path / "c"
  text = estimated(tiny_data, out)
  # 100 s x (3 rates x 1/4 + 2 seeds), four systems.
  assert re.search(r"resnet50 +5 +0 +by its speed +275 +- ", text)
  assert re.search(r"in all +20 +0 +1,100 +-", text)
  assert "up to 4 more of these, where the best rate is an end" in text
  assert not out.exists()
  text = estimated(tiny_data, out, budget="400steps")
  # 400 steps x 2.75 x 64 pairs x 10 FLOPs.
  assert re.search(r"roberta +5 +0 +400 +- +704,000", text)


def test_an_estimate_is_of_what_is_left(tiny_data, tmp_path, whole):
  out, _ = whole
  text = estimated(tiny_data, out, seeds=3)
  assert re.search(r"item +6 +5 +100 +100 +", text)
  assert re.search(r"in all +24 +20 +400 +", text)
  text = estimated(tiny_data, tmp_path / "c", jobs=2, systems="item,clip")
  assert "about 275 s elapsed, 2 side by side" in text


def test_the_ablation_trains_equal_configs_once(tiny_data, tmp_path, capsys):
  out, fake = tmp_path / "c", Fake()
  how = {"systems": "ablation", "config": None, "seeds": 1, "rates": "1"}
  assert run_compare(tiny_data, out, fake, **how) == 0
  runs = [run[0] for run in fake.trained()]
  assert {"full", "no_gmlm", "only_global", "align", "post_norm"} <= set(runs)
  assert not {"patch50", "pre_norm"} & set(runs)  # tiny does so anyway
  rows = {row["system"]: row for row in numbers(out)}
  assert rows["patch50"]["cells"] == rows["full"]["cells"]
  assert "gap" in rows["no_global"]["cells"]
  text = (out / "comparison.md").read_text()
  assert "patch50 has the same config as full" in text
  assert "Less full" in text


def test_rates_need_pairs_to_be_chosen_by(tiny_data, tmp_path):
  lonely = tmp_path / "data"
  shutil.copytree(tiny_data, lonely)
  catalogue = json.loads((lonely / "catalogue.json").read_text())
  catalogue["products"]["val"] = catalogue["rows"]["val"]
  (lonely / "catalogue.json").write_text(json.dumps(catalogue))
  write_manifest(lonely)
  with pytest.raises(UserError, match="--rates=1"):
    run_compare(lonely, tmp_path / "c", Fake())
  assert run_compare(lonely, tmp_path / "c", Fake(), rates="1") == 0


def in_progress(log: Path) -> int:
  """Steps that a training's log speaks of."""
  text = log.read_text() if log.is_file() else ""
  return max(map(int, re.findall(r"^step +(\d+)/", text, re.M)), default=0)


def test_from_the_shell_killed_in_the_middle(tiny_data, tmp_path):
  """Real training: what was done before the kill is not done again."""
  out = tmp_path / "c"
  how = {
    "systems": "clip,tfidf",
    "config": str(Path(__file__).parent / "helpers" / "tiny_compare.py"),
    "seeds": 1,
    "rates": "1",
    "budget": "40steps",
  }
  words = ["compare", f"--data={tiny_data}", f"--out={out}"]
  words += [f"--{name}={value}" for name, value in how.items()]
  folder = out / "runs" / "clip" / "seed-0"
  log = folder / "log.txt"
  process = shell.start(*words)
  deadline = time.monotonic() + 240
  while in_progress(log) < 10 and time.monotonic() < deadline:
    assert process.poll() is None, process.stdout.read()
    time.sleep(0.02)
  process.kill()
  process.communicate()
  assert not (out / "comparison.json").exists()
  assert not (folder / "result.json").exists()

  output = shell.run(*words)
  text = log.read_text()
  assert "resumed at step" in text
  assert len(re.findall("^step +40/40", text, re.M)) == 1
  rows = {row["system"]: row for row in numbers(out)}
  assert list(rows) == ["clip", "tfidf"]
  for name, row in rows.items():
    assert row["missing"] == 0
    assert name in output
  clip = rows["clip"]
  parts = [folder / "exports" / f"{s}-both" for s in ("train", "val", "test")]
  for side in ("both", "image", "title"):
    export = parts[2].with_name(f"test-{side}")
    again = retrieval.score(open_export(export), bootstrap=0).summary
    for measure in ("recall@10", "map@10"):
      assert clip["cells"][f"{side}/{measure}"]["mean"] == again[measure]
  found = score.probe(*parts)
  assert clip["cells"]["category/accuracy"]["mean"] == found.accuracy
  assert clip["cells"]["category/macro_f1"]["mean"] == found.macro_f1
  assert "category/macro_f1" in rows["tfidf"]["against"]
  assert clip["seconds"]["mean"] > 0
  about = json.loads((out / "comparison.json").read_text())["about"]
  assert "cpu" in about["device"]
  assert "item-jax compare" in about["command"]

  request = Request(data=tiny_data, out=out, **how)
  assert not compare(request).failures  # there is nothing left to do
  assert log.read_text() == text
  assert numbers(out) == list(rows.values())
  assert not [f for f in verify(out) if f.state != "whole"]
  # Of a tuning run only the score is kept.
  tuned = folder.with_name("tune-3")
  shutil.copytree(folder, tuned)
  shutil.rmtree(tuned / "workdir" / "checkpoints")
  assert [f.state for f in verify(out) if f.state != "whole"] == ["unfinished"]
  result = json.loads((tuned / "result.json").read_text())
  (tuned / "result.json").write_text(json.dumps(result | {"dropped": True}))
  assert not [f for f in verify(out) if f.state != "whole"]
  shutil.rmtree(folder / "workdir" / "checkpoints")
  (lost,) = [f for f in verify(out) if f.state != "whole"]
  assert lost.state == "unfinished"
  assert str(folder) in lost.text


def test_a_hybrid_without_pairs_to_choose_by_has_even_weights(tmp_path):
  random = np.random.default_rng(0)
  parts = {}
  for split in ("train", "val", "test"):
    products = [""] * 6 if split == "val" else list("AABBCC")
    rows = [{"product": p, "id": f"{split}{n}"} for n, p in enumerate(products)]
    parts[split] = [
      str(
        write_export(
          *(tmp_path / split / side, random.normal(size=(6, 3)), rows),
          modality=side,
        )
      )
      for side in ("image", "title")
    ]
  with pytest.raises(UserError, match="no product with two listings"):
    fuse(*parts["test"], tune_on=parts["val"])
  hybrids.write_request(
    tmp_path, parts, data=tmp_path, classified=False, modality=None
  )
  hybrids.score_request(tmp_path)
  result = score.read(tmp_path)
  assert result.counts["weights"] == [0.5, 0.5]
  assert score.VALIDATION not in result.counts
  even = retrieval.score(fuse(*parts["test"]), bootstrap=0)
  assert result.cells["both/recall@10"] == even.summary["recall@10"]
