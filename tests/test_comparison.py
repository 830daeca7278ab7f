"""Parts of the comparison: plans, choices, fused vectors, means and pages."""

import csv
import io
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from item_jax import config_flags
from item_jax.comparison import (
  baselines,
  child,
  estimate,
  headline,
  notes,
  page,
  plan,
  render,
  runs,
  score,
  subprocesses,
  summary,
  systems,
  tune,
)
from item_jax.comparison.headline import KINDS
from item_jax.comparison.plan import Budget, Run
from item_jax.comparison.result import Comparison
from item_jax.comparison.score import Category, Result
from item_jax.comparison.table import Bold, amount, fraction
from item_jax.config import Config, flatten
from item_jax.errors import UserError
from item_jax.evaluation import labels
from item_jax.evaluation.items import Items
from item_jax.evaluation.retrieval import Scores

CONFIGS = Path(__file__).parents[1] / "configs"
FIVE = ("itm", "mlm", "mim", "gmlm", "gmim")
PLAIN = {"needs": [], "group": KINDS[1]}


def flat(file: str, *variant: str) -> dict:
  flag = ":".join([str(CONFIGS / file), *variant])
  return flatten(config_flags.parse(flag, []))


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_systems_differ_in_what_they_are_and_in_nothing_else(size):
  known = systems.read_available(str(CONFIGS / "comparison.py"))
  item = flat("comparison.py", f"item,{size}")
  products = {"task", *(f"loss.{name}" for name in FIVE)}
  sides = {"model.sides", "model.cls_share"}
  crops = {"products.crop", "products.light"}
  own = {
    "item": set(),
    "item_align": {"loss.align"},
    "item_align_both": {"loss.align", "align.views"},
    "item_sides": {"loss.align", *sides},
    "item_products": products,
    "item_products_sides": products | sides | crops,
    "item_supervised": {"task"},
    "resnet50": {"task", "model.name", "resnet.norm"},
    "roberta": {"task", "model.name", "model.epsilon"},
    "clip": {"task", "model.name", "model.epsilon", "model.dropout"},
  }
  recommended = {"item_stem", "item_products_stem"}  # of their own configs
  assert set(own) | recommended == set(known.variants)
  for name, allowed in own.items():
    one = flat("comparison.py", f"{name},{size}")
    differing = {field for field in item if one[field] != item[field]}
    assert differing <= allowed, name
    assert (name == "item") == (not differing)


@pytest.mark.parametrize(
  ("name", "file", "variants"),
  [
    ("item_stem", "item_stem.py", ("tiny", "small", "small")),
    ("item_products_stem", "item_products.py", ("stem_tiny", "stem", "stem")),
  ],
)
def test_a_stem_is_trained_by_the_recommended_config(name, file, variants):
  for size, variant in zip(("tiny", "small", "base"), variants, strict=True):
    assert flat("comparison.py", f"{name},{size}") == flat(file, variant)


def test_the_tiny_size_is_the_quickstarts_at_64_pixels():
  ours, theirs = flat("comparison.py", "item,tiny"), flat("item_tiny.py")
  same = [n for n in ours if n.split(".")[0] in ("optim", "mask", "loss")]
  same += ["steps", "batch_size", "model.layers", "model.width"]
  assert {n: ours[n] for n in same} == {n: theirs[n] for n in same}
  assert (ours["model.image_size"], ours["model.patch"]) == (64, 16)


def test_each_ablation_changes_one_thing():
  known = systems.read_available(str(CONFIGS / "ablation.py"))
  full = flat("ablation.py", "full,base")
  assert full == flat("comparison.py", "item,base")
  changes = {}
  for name in known.variants:
    one = flat("ablation.py", f"{name},base")
    changes[name] = {f: one[f] for f in full if one[f] != full[f]}
  assert changes["no_global"] == {"loss.gmlm": 0.0, "loss.gmim": 0.0}
  assert changes["only_global"] == {
    "loss.itm": 0.0,
    "loss.mlm": 0.0,
    "loss.mim": 0.0,
  }
  for term in FIVE:
    assert changes[f"no_{term}"] == {f"loss.{term}": 0.0}
  for rate in (30, 50, 75):
    assert changes[f"patch{rate}"] == {"mask.patch_rate": rate / 100}
  assert changes["sum_heads"] == {"model.global_head": "sum"}
  assert changes["keep_negatives"] == {"loss.keep_negatives": True}
  assert changes["pre_norm"] == {"model.norm": "pre"}
  assert changes["align"] == {"loss.align": 1.0}
  # What base does anyway.
  same = {name for name, change in changes.items() if not change}
  assert same == {"full", "patch15", "post_norm"}


def test_unknown_variants_are_named():
  for file in ("comparison.py", "ablation.py"):
    with pytest.raises(UserError, match="nothing"):
      config_flags.parse(f"{CONFIGS / file}:nothing", [])


def test_rows_bring_what_they_are_made_of():
  known = systems.read_available(str(CONFIGS / "comparison.py"))
  rows = systems.choose("resnet50+roberta_tuned, tfidf", known)
  assert [row.name for row in rows] == [
    "resnet50",
    "roberta",
    "resnet50+roberta_tuned",
    "tfidf",
  ]
  names = [row.name for row in systems.choose("all", known)]
  assert names[: len(known.variants)] == list(known.variants)
  assert names[len(known.variants) :] == [
    "resnet50+roberta",
    "resnet50+roberta_tuned",
    "clip_tuned",
    "untrained",
    "tfidf",
    "thumbnail",
    *known.frozen,
    *known.hybrids,
  ]
  with pytest.raises(UserError, match=r"bert; .* offers item"):
    systems.choose("bert", known)


def test_a_config_file_without_variants_is_refused():
  with pytest.raises(UserError, match="VARIANTS"):
    systems.read_available(str(CONFIGS / "item_tiny.py"))


@pytest.mark.parametrize(
  ("text", "budget"),
  [
    ("300s", Budget(300.0, "seconds")),
    ("1.5m", Budget(90.0, "seconds")),
    ("2h", Budget(7200.0, "seconds")),
    ("2000steps", Budget(2000.0, "steps")),
    (None, Budget(0.0, "config")),
  ],
)
def test_budgets(text, budget):
  assert plan.parse_budget(text) == budget


@pytest.mark.parametrize("text", ["300", "0s", "-3s", "2.5steps", "soon"])
def test_what_is_no_budget_is_refused(text):
  with pytest.raises(UserError, match=re.escape(text)):
    plan.parse_budget(text)


@pytest.mark.parametrize("text", ["", "1,one", "0,1", "1,1", "inf"])
def test_what_is_no_list_of_rates_is_refused(text):
  with pytest.raises(UserError, match="rates"):
    plan.parse_rates(text)


def test_seconds_become_steps_by_the_measured_speed():
  config = Config()
  seconds = Budget(300.0, "seconds")
  assert plan.steps_of(seconds, config, None) is None
  assert plan.steps_of(seconds, config, 0.25) == 1200
  assert plan.steps_of(seconds, config, 400.0) == plan.MIN_STEPS
  assert plan.steps_of(Budget(7, "steps"), config, None) == 7
  assert plan.steps_of(plan.parse_budget(None), config, None) == 100_000


def test_a_run_keeps_the_schedules_proportions():
  config = Config()
  config.steps, config.optim.warmup, config.optim.lr = 1000, 100, 2e-3
  words = plan.options(Run("item", "seed-2", 2, 300, 0.3), config, "D")
  values = dict(w.removeprefix("--config.").split("=") for w in words)
  assert values["optim.warmup"] == "30"
  assert float(values["optim.lr"]) == 2e-3 * 0.3
  assert values["seed"] == "2"
  assert values["steps"] == "300"
  # Three evaluations, the last at the end; ten saves.
  assert values["eval_every"] == "100"
  assert values["checkpoint.every"] == "30"
  assert values["data.path"] == "D"


def test_the_cost_counts_tuning_and_seeds():
  config = Config()
  config.batch_size = 10
  facts = {"flops_per_sample": 7.0}
  how = {"rates": (0.3, 1, 3), "share": 0.25, "seeds": 2}
  cost = estimate.cost(facts, Budget(100, "seconds"), config, **how)
  some = {"runs": 5, "done": 0, "steps": None}
  assert cost == {**some, "seconds": 275.0, "flops": None}
  cost = estimate.cost(facts, Budget(40, "steps"), config, **how)
  some["steps"] = 40
  assert cost == {**some, "seconds": None, "flops": 7700.0}
  # All but one tuning run and one seed.
  done = {"tune-0.3", "tune-3", "seed-0", "seed-7"}
  cost = estimate.cost(facts, Budget(40, "steps"), config, **how, done=done)
  assert cost == {**some, "done": 3, "seconds": None, "flops": 3500.0}
  # The best of three whole runs is the first seed's.
  cost = estimate.cost(
    facts, Budget(40, "steps"), config, **how | {"share": 1.0}
  )
  assert cost == {**some, "runs": 4, "seconds": None, "flops": 11200.0}
  cost = estimate.cost(
    facts | {"seconds_per_step": 0.5, "steps": 200},
    Budget(100, "seconds"),
    config,
    **how | {"rates": (1.0,)},
  )
  some = {"runs": 2, "done": 0, "steps": 200}
  assert cost == {**some, "seconds": 200.0, "flops": 28000.0}


def rated(score, *, diverged=False):
  # The first evaluation of a short run: the higher the less a rate moved.
  ends = [{runs.CHOICE_METRIC: 0.9 - score}, {runs.CHOICE_METRIC: score}]
  return {"evaluations": ends, "diverged": diverged}


def test_the_rate_is_chosen_by_validation():
  assert tune.choose_rate({0.3: rated(0.2), 1: rated(0.4), 3: rated(0.3)}) == 1
  assert tune.choose_rate({3: rated(0.4), 1: rated(0.4)}) == 1
  # One that has lost what it began with is none where another has risen.
  fallen, risen = rated(0.6), rated(0.2)
  for run, first in ((fallen, 0.9), (risen, 0.1)):
    run["evaluations"].insert(0, run["evaluations"][0] | {"both/map@10": first})
  assert tune.choose_rate({0.3: fallen, 1: risen}) == 1
  assert tune.choose_rate({0.3: fallen, 1: fallen}) == 0.3
  # One that had risen before it was first looked at is no such one.
  slow, quick = rated(0.15), rated(0.32)
  for run, first in ((slow, 0.10), (quick, 0.30)):
    run["evaluations"][0] = {runs.CHOICE_METRIC: first}
  assert tune.choose_rate({0.3: slow, 1: quick}) == 1
  # One that diverged after it rose says nothing of the others.
  assert not tune.any_improved({3: rated(0.9, diverged=True), 1: rated(0.1)})
  # A run that diverged is no candidate, whatever it scored on its way.
  both = {1: rated(0.1), 3: rated(0.9, diverged=True)}
  assert tune.choose_rate(both) == 1
  with pytest.raises(UserError, match="choose by"):
    tune.choose_rate(
      {1: rated(0.1, diverged=True), 3: {"evaluations": [], "diverged": False}}
    )


def test_a_log_gives_seconds_and_evaluations():
  rows = [
    {"step": 10, "kind": "train", "samples_per_second": 20.0},
    {"step": 10, "kind": "eval", "both/map@10": 0.3},
    {"step": 15, "kind": "train", "samples_per_second": 40.0},
    {"step": 15, "kind": "bad", "in_a_row": 1},
    {"step": 20, "kind": "eval", "both/map@10": 0.3},
    {"step": 30, "kind": "eval", "both/map@10": 0.1},
  ]
  # 10 steps of 8 at 20/s, then 5 at 40/s.
  assert runs.training_seconds(rows, 8) == pytest.approx(4 + 1)
  assert [row["step"] for row in runs.evaluations(rows)] == [10, 20, 30]


def result_of(*values, products="ppqqr", **cells) -> Result:
  name = "both/recall@10"
  return Result(
    {name: float(np.mean(values)), **cells},
    {},
    {
      name: np.array(values, float),
      f"{name}:product": np.array(list(products)),
    },
  )


def test_means_and_spreads_by_hand():
  sides, other = {"gap": 0.3}, {"gap": 0.1}
  results = {
    "item": {
      0: result_of(1, 1, 0, 0, 0, **sides),
      1: result_of(1, 1, 1, 1, 0, **other),
    },
    "tfidf": {0: result_of(1, 1, 1, 1, 1)},
  }
  facts = {
    "item": {
      **PLAIN,
      "kind": "trained",
      "seeds": 3,
      "parameters": 5,
      "seconds": {0: 10.0, 1: 20.0},
    },
    "tfidf": {**PLAIN, "kind": "tfidf", "seeds": 1},
  }
  item, tfidf = summary.make_rows(results, facts, base="item", resamples=200)
  assert item["missing"] == 1
  assert tfidf["missing"] == 0
  cell = item["cells"]["both/recall@10"]
  assert cell["mean"] == pytest.approx(0.6)
  assert cell["std"] == pytest.approx(math.sqrt(0.08))  # n - 1 = 1
  assert (cell["min"], cell["max"]) == (0.4, 0.8)
  gap = item["cells"]["gap"]
  assert gap["mean"] == pytest.approx((0.3 + 0.1) / 2)
  assert item["seconds"]["mean"] == 15
  assert item["against"] == {}
  assert tfidf["cells"]["both/recall@10"]["std"] is None
  assert "gap" not in tfidf["cells"]
  # tfidf less item, item's queries averaged over seeds first:
  # 0, 0, 1/2, 1/2, 1.
  difference = tfidf["against"]["both/recall@10"]
  assert difference["difference"] == pytest.approx(0.4)


def test_the_bootstrap_draws_products_not_queries():
  """Enumerated: three products of 2, 2, 1 queries, differences 0, 1/2, 1."""
  ours, theirs = (
    {0: result_of(1, 1, 1, 1, 1)},
    {
      0: result_of(1, 1, 0, 0, 0),
      1: result_of(1, 1, 1, 1, 0),
    },
  )
  found = summary.paired_differences(ours, theirs, resamples=20_000)
  total, count = np.array([0, 1.0, 1.0]), np.array([2, 2, 1])
  drawn = np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3)
  means = total[drawn].sum(1) / count[drawn].sum(1)  # all 27, equally likely
  low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
  difference = found["both/recall@10"]
  assert difference["interval"] == pytest.approx([low, high])
  # One draw in 27 has the first product alone: a difference of exactly zero.
  assert difference["p"] == pytest.approx(2 / 27, rel=0.15)


def test_the_gaps_difference_is_paired_too():
  """Title less image, query by query, ours less theirs."""
  items = Items(list("abcd"), list("ppqq"), [])

  def searched(title, image) -> Result:
    result = Result({}, {}, {})
    for side, hits in (("title", title), ("image", image)):
      values = {name: np.array(hits, float) for name in score.MEASURES}
      summary = {name: np.mean(hits) for name in score.MEASURES}
      found = [np.arange(4), np.ones(4), None, None]
      scored = Scores(summary, values, *found, items)
      score.add_search(result, (side, None), scored, items)
    score.add_gap(result)
    return result

  ours = searched([1, 1, 1, 0], [0, 1, 0, 0])
  theirs = searched([1, 1, 0, 1], [1, 1, 0, 0])
  assert ours.cells["gap"] == 0.5
  found = summary.paired_differences({0: ours}, {0: theirs}, resamples=500)
  assert found.keys() == {"image/recall@10", "title/recall@10", "gap"}
  # Gaps 1 0 1 0 less 0 0 0 1: products p and q are apart by 1/2 and 0.
  assert found["gap"]["difference"] == 0.25
  assert found["gap"]["interval"] == pytest.approx([0.0, 0.5])


def test_macro_f1_is_counted_anew_in_each_resample():
  """Two of three classes found, or one: 2/3 and 1/6 of F1, by hand."""
  true_Q = np.tile([0, 1, 2], 30)
  guesses = {"item": true_Q * 0, "some": np.where(true_Q == 2, 9, true_Q)}
  results = {}
  for name, predicted_Q in guesses.items():
    found = Category(0.0, 0.0, {}, np.arange(90), true_Q, predicted_Q)
    given = labels.compare_labels(true_Q.tolist(), predicted_Q.tolist())
    f1 = labels.summary(given)["macro_f1"]
    result = Result({}, {}, {})
    items = Items([f"i{n}" for n in range(90)], [""] * 90, [])
    score.add_category(result, "category", lambda of=found: of, items)
    result.cells["category/macro_f1"] = f1
    results[name] = {0: result, 1: result}
  known = {**PLAIN, "kind": "trained"}
  facts = {name: {**known, "seeds": 2} for name in results}
  item, some = summary.make_rows(results, facts, base="item")
  assert item["against"] == {}
  found = some["against"]["category/macro_f1"]
  assert found["difference"] == pytest.approx(2 / 3 - 1 / 6)
  low, high = found["interval"]
  assert 0.4 < low < 0.5 < high < 0.6
  assert found["p"] < 0.01
  # Both are drawn with the same products: who says the same is as good.
  again = summary.make_rows(
    {"item": results["item"], "same": {0: results["item"][0]}},
    facts | {"same": {**known, "seeds": 1}},
    base="item",
  )
  assert again[1]["against"]["category/macro_f1"]["interval"] == [0, 0]


def test_the_row_to_take_is_the_best_on_validation_not_on_test():
  """Of each kind; its interval by all draws of three products."""
  results, facts = {}, {}
  for name, group, validation, hits in (
    ("tfidf", KINDS[0], 0.3, (1, 1, 1, 1, 1)),
    ("frozen", KINDS[0], 0.5, (1, 1, 0, 0, 0)),
    ("later", KINDS[0], 0.5, (1, 1, 1, 1, 1)),
    ("item", KINDS[1], 0.2, (0, 0, 0, 0, 0)),
    ("old", KINDS[1], None, (1, 1, 1, 1, 1)),
  ):
    result = result_of(*hits)
    if validation is not None:
      result.counts[score.VALIDATION] = validation
    results[name] = {0: result}
    facts[name] = {"kind": "", "needs": [], "group": group, "seeds": 1}
  facts["frozen"]["needs"] = ["weights"]
  rows = summary.make_rows(results, facts, base="item", resamples=10)
  free, trained = headline.choose(rows, results, resamples=20_000)
  assert (free["system"], trained["system"]) == ("frozen", "item")
  assert free["validation"] == 0.5
  test = free["test"]["both/recall@10"]
  # Products of 2, 2 and 1 queries, of which the first is found: of 27 draws 8
  # lack it, and one has nothing else.
  assert (test["mean"], test["interval"]) == (0.4, [0, 1])
  text = headline.sentence([free, trained], "test")
  assert "without training frozen, which needs weights (recall@10 .400" in text
  assert "item, which needs nothing (recall@10 .000 [.000, .000]" in text
  assert headline.sentence([], "test") == ""


def test_other_queries_are_not_paired():
  with pytest.raises(ValueError, match="different queries"):
    summary.paired_differences(
      {0: result_of(1, 0, 1)}, {0: result_of(1, 0, 1, products="ppx")}
    )


ABOUT = {
  "base": "item",
  "data": {
    "path": "<data>",
    "fingerprint": {"test": "abc"},
    "rows": {"test": 5},
  },
  "split": "test",
  "budget": "300 seconds",
  "command": "item-jax compare --out 'a & b'",
  "date": "2026-01-01",
  "device": "cpu",
  "versions": {"jax": "0.10"},
  "headline": "Take <item>.",
  "notes": ["5 queries < 6"],
}


def made_rows():
  results = {
    "item": {0: result_of(1, 1, 0, 0, 0), 1: result_of(1, 1, 1, 1, 0)},
    "clip": {0: result_of(0, 0, 0, 0, 0)},
    "late": {},
  }
  facts = {
    name: {**PLAIN, "kind": "trained", "seeds": 2, "parameters": 1_234_567}
    for name in results
  }
  return summary.make_rows(results, facts, base="item", resamples=100)


def test_markdown_marks_what_is_missing():
  text = str(Comparison(ABOUT, made_rows()))
  assert "| item | nothing | **.600 ± .283** | 1.23 M |" in text  # the best
  assert "| clip (1 of 2 seeds) | nothing | .000 | 1.23 M |" in text
  assert "| late (0 of 2 seeds) | nothing | - | 1.23 M |" in text
  assert re.search(r"\| clip \(1 of 2 seeds\) \| (\*\*)?-.600 \[", text)
  assert "Less item, with" in text
  assert "image" not in text  # no row measured it


def test_csv_has_every_number_in_full():
  lines = list(
    csv.DictReader(io.StringIO(render.number_table(made_rows()).to_csv()))
  )
  assert [line["system"] for line in lines] == ["item", "clip", "late"]
  assert float(lines[0]["both/recall@10 std"]) == pytest.approx(0.08**0.5)
  assert lines[1]["both/recall@10 std"] == ""
  assert float(lines[1]["both/recall@10 difference"]) == pytest.approx(-0.6)
  assert lines[2]["both/recall@10 mean"] == ""


def test_the_page_needs_nothing_else_and_escapes():
  text = page.render_page(made_rows(), ABOUT)
  for outside in ("<script", "<link", "src=", "href=", "url("):
    assert outside not in text
  assert "&lt;data&gt;" in text
  assert "<data>" not in text
  assert "a &amp; b" in text
  assert "<td><b>.600 ± .283</b></td>" in text


def test_a_bars_length_is_its_mean_and_a_line_spans_the_seeds():
  (axes,) = page.bars(made_rows()).axes
  lengths = [bar.get_width() for bar in axes.patches if bar.get_width()]
  assert lengths == pytest.approx([0.6])
  spans = [tuple(line.get_xdata()) for line in axes.lines]
  assert spans == [(0.4, 0.8), (0.0, 0.0)]


@pytest.mark.parametrize(("p", "bold"), [(0.002, True), (0.05, False)])
def test_differences_that_are_sure_are_bold(p, bold):
  found = {"difference": 0.05, "interval": [0.01, 0.09], "p": p}
  text = f"+.050 [+.010, +.090], p {fraction(p)}"
  assert render.difference(found) == text
  assert isinstance(render.difference(found), Bold) == bold


def test_numbers_are_written_as_shares():
  assert fraction(0.1234) == ".123"
  assert fraction(1.0) == "1.000"
  assert fraction(-0.0601, signed=True) == "-.060"
  assert fraction(-0.0001, signed=True) == "+.000"
  assert amount(139.7e9) == "140 G"
  assert amount(7.15e18) == "7.15 E"
  assert amount(999.6e6) == "1 G"
  assert amount(1234) == "1,234"
  assert amount(None) == "-"


@pytest.mark.parametrize(
  ("jobs", "cores", "listed", "places"),
  [
    (1, 4, "0,1", [{}]),
    (2, 5, None, [{"ITEM_JAX_CORES": "0,2,4"}, {"ITEM_JAX_CORES": "1,3"}]),
    (2, 0, None, [{}, {}]),  # a system that pins nothing
    (
      2,
      2,
      "3,5,7",
      [
        {"ITEM_JAX_CORES": "0", "CUDA_VISIBLE_DEVICES": "3,7"},
        {"ITEM_JAX_CORES": "1", "CUDA_VISIBLE_DEVICES": "5"},
      ],
    ),
    (3, 2, None, "jobs=3, but there are 2 cores"),
    (2, 2, "4", "jobs=2, but there are 1 devices in CUDA_VISIBLE_DEVICES"),
  ],
)
def test_side_by_side_each_has_its_place(
  monkeypatch, jobs, cores, listed, places
):
  monkeypatch.setattr(subprocesses.shutil, "which", lambda name: None)
  if cores:
    monkeypatch.setattr(
      subprocesses.os,
      "sched_getaffinity",
      lambda pid: set(range(cores)),
      raising=False,
    )
  else:
    monkeypatch.delattr(subprocesses.os, "sched_getaffinity", raising=False)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  if listed is not None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
  if isinstance(places, list):
    assert subprocesses.make_slots(jobs) == places
  else:
    with pytest.raises(UserError, match=re.escape(places)):
      subprocesses.make_slots(jobs)


def test_devices_that_nobody_shared_out_are_refused(monkeypatch):
  monkeypatch.setattr(
    subprocesses.shutil, "which", lambda name: "/usr/bin/" + name
  )
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  assert subprocesses.make_slots(1) == [{}]
  with pytest.raises(UserError, match=r"jobs=2.*CUDA_VISIBLE_DEVICES is not"):
    subprocesses.make_slots(2)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
  monkeypatch.setattr(
    subprocesses.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False
  )
  assert [
    place[subprocesses.child.CORES] for place in subprocesses.make_slots(2)
  ] == ["0", "1"]


def test_a_command_gives_its_code_and_its_output(tmp_path):
  log = tmp_path / "log.txt"
  with subprocesses.Commands() as call:
    assert call(["--version"], ["train", "--help"], log=log) == 0
    with pytest.raises(subprocesses.FailedError) as caught:
      subprocesses.check_call(call, ["paint"], ["--version"], log=log)
  text = log.read_text()
  assert text.count("$ item-jax --version") == 1  # not after a failure
  assert "$ item-jax train --help\nusage: item-jax train" in text
  assert "ended with 2" in str(caught.value)
  assert "invalid choice: 'paint'" in str(caught.value)


@pytest.mark.parametrize(
  ("code", "how"),
  [
    (-9, "train was killed by SIGKILL (out of memory, as a rule: see dmesg);"),
    (-11, "train was killed by SIGSEGV;"),
    (-40, "train was killed by 40;"),
    (4, "train ended with 4;"),
  ],
)
def test_a_command_that_was_killed_is_told_by_the_signals_name(
  code, how, tmp_path
):
  told = subprocesses.describe_failure("train", code, tmp_path / "log.txt")
  assert told.startswith(how)


def test_a_commands_log_has_what_scoring_logs(tmp_path, monkeypatch, capsys):
  def score_baseline(*args):
    logging.getLogger("item_jax.evaluation").info("3 images cannot be read")
    raise UserError("no rows")

  monkeypatch.setattr(baselines, "score_baseline", score_baseline)
  monkeypatch.setattr("item_jax.data.records.open_dataset", lambda path: None)
  assert child.run(["baseline", "FOLDER", "tfidf", "DATA", "test"]) == 2
  lines = ["baseline FOLDER", "3 images cannot be read", "error: no rows", ""]
  assert capsys.readouterr().out.split("\n") == lines


def test_ctrl_c_ends_the_command_and_then_the_comparison(tmp_path):
  log = tmp_path / "log.txt"
  words = ["bench", "search", "--items=400000", "--dim=64"]

  def interrupt():
    while not log.exists() or "$ item-jax bench" not in log.read_text():
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

  before = signal.getsignal(signal.SIGINT)
  thread = threading.Thread(target=interrupt)
  with subprocesses.Commands() as call:
    thread.start()
    with pytest.raises(KeyboardInterrupt):
      call(words, log=log)
  thread.join()
  assert signal.getsignal(signal.SIGINT) == before
  assert "queries/s" not in log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_command_ends_with_the_comparison(tmp_path):
  """A killed parent takes its child along: none trains on unseen."""
  code = (
    "import runpy, sys, time\n"
    "from item_jax.comparison import child\n"
    "runpy.run_module = lambda *a, **k: (print('up', flush=True),"
    " time.sleep(60))\n"
    "sys.exit(child.main())\n"
  )
  parent = (
    "import os, subprocess, sys, time\n"
    f"p = subprocess.Popen([sys.executable, '-c', {code!r}, str(os.getpid()),"
    " 'train'], stdout=subprocess.PIPE, start_new_session=True)\n"
    "p.stdout.readline()\n"
    "print(p.pid, flush=True)\n"
    "time.sleep(60)\n"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True
  )
  pid = int(process.stdout.readline())
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stdout.close()
  deadline = time.monotonic() + 10
  while time.monotonic() < deadline:
    try:
      stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
      return
    if stat.rpartition(")")[2].split()[0] == "Z":
      return
    time.sleep(0.02)
  os.kill(pid, signal.SIGKILL)
  pytest.fail("the child outlived its parent")


@pytest.mark.parametrize(
  ("base", "said"), [([], True), ([0], False), (None, True)]
)
def test_a_table_of_differences_that_is_missing_says_why(base, said):
  """The base failed in every seed, or is no row."""
  other = {"system": "b", "seeds": [0], "missing": 0, "against": {}}
  rows = [other]
  if base is not None:
    rows.append(other | {"system": "a", "seeds": base})
  told = "No differences: they are to a, which has no scores here."
  assert (told in notes._differences(rows, "a")) is said
