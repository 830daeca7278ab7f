"""Runs in catalogues that they were not trained on."""

import json

import pytest
import shell
import untrained

import item_jax
from item_jax.errors import UserError


@pytest.fixture(scope="module")
def run(tiny_data):
  return untrained.write(tiny_data.parent / "domain_run", tiny_data)


@pytest.fixture(scope="module")
def other(tiny_data):
  """The same listings, prepared with a tokenizer of their own."""
  catalogue = tiny_data.parent / "catalogue"
  out = tiny_data.parent / "other"
  item_jax.prepare(
    catalogue / "products.csv",
    images=catalogue,
    out=out,
    vocab_size=200,
    workers=1,
  )
  return out


@pytest.fixture(scope="module")
def found(run, tiny_data, other):
  return item_jax.cross_domain([run], [tiny_data, other], bootstrap=20)


def test_a_cell_is_what_evaluate_says(run, tiny_data, found):
  export = item_jax.export(
    run, data=tiny_data, split="test", out=run.parent / "domain_export"
  )
  scores = item_jax.score(export, k=10, bootstrap=20)
  assert found["domain_run"]["data"] == scores.to_dict()
  tfidf = item_jax.baselines.tfidf(tiny_data, k=10, bootstrap=20)
  assert found["tfidf"]["data"] == tfidf.to_dict()


def test_a_run_takes_its_own_tokenizer(run, other, found):
  assert found["domain_run"]["other"] == found["domain_run"]["data"]
  assert (other / "tokenizer.json").read_text() != (
    run / "tokenizer.json"
  ).read_text()
  with pytest.raises(UserError, match="was prepared with tokenizer"):
    item_jax.export(run, data=other, split="test", out=run.parent / "no")
  # One catalogue alone is measured so too.
  one = item_jax.robustness(run, data=other, parts=["roles"], bootstrap=20)
  summary = found["domain_run"]["other"]
  assert one.roles[0]["recall@10"]["value"] == summary["recall@10"]


def test_the_command_says_and_writes_it(run, tiny_data, other, found, tmp_path):
  words = ["robustness", f"--workdir={run}", f"--data={tiny_data}"]
  words += [f"--data={other}", "--bootstrap=20"]
  text = shell.run(*words, f"--json={tmp_path / 'found.json'}")
  assert str(found) in text
  written = json.loads((tmp_path / "found.json").read_text())
  assert written == json.loads(json.dumps(found.to_dict()))
  # 3 systems, 2 catalogues, 2 figures.
  assert len(found.rows()) == 12
  assert found._repr_html_().count("<table>") == 2
  text = shell.run(*words, "--parts=crop", code=2)
  assert "--parts is of one run and one catalogue; given are 1 and 2" in text


def test_who_has_nothing_to_tell_listings_apart_is_left_out(
  run, tiny_data, tmp_path
):
  """Its rows are alike, and ids alone would rank them."""
  rows = (tiny_data.parent / "catalogue/products.csv").read_text().splitlines()
  table = [
    dict(zip(rows[0].split(","), row.split(","), strict=False))
    for row in rows[1:]
  ]
  for row in table:
    row.pop("image")
  out = tmp_path / "bare"
  item_jax.prepare(table, out=out, vocab_size=200, workers=1)
  found = item_jax.cross_domain([run], [tiny_data, out], bootstrap=0)
  assert set(found["thumbnail"]) == {"data"}
  assert set(found["tfidf"]) == {"data", "bare"}
  assert "left out, for only ids would rank: thumbnail in bare" in str(found)
  (cells,) = [x for x in found.tables()[0][1] if x["run"] == "thumbnail"]
  assert cells["bare"] == ""


def test_what_cannot_be_compared_is_told(run, tiny_data, tmp_path):
  with pytest.raises(UserError, match="no catalogue: expected one or more"):
    item_jax.cross_domain([run], [])
  with pytest.raises(
    UserError, match=r"run .*domain_run, .* expected each once"
  ):
    item_jax.cross_domain([run, run], [tiny_data])
  rows = [{"title": f"mug {n}", "split": "test"} for n in range(4)]
  item_jax.prepare(
    rows,
    out=tmp_path / "single",
    tokenizer=tiny_data / "tokenizer.json",
    workers=1,
  )
  with pytest.raises(UserError, match=r"single: none of 4 queries has another"):
    item_jax.cross_domain([run], [tiny_data, tmp_path / "single"])
