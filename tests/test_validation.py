"""Validation while training: which rows are scored, and that those are."""

import random
from collections import Counter

import jax
import numpy as np
import tiny_run

from item_jax.data import pipeline
from item_jax.data.records import Record, open_dataset
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.inference import validation
from item_jax.inference.embedder import embed_unit
from item_jax.ingest.writer import DatasetWriter
from item_jax.training.setup import set_up


def test_of_a_large_split_whole_products_are_scored(tmp_path, monkeypatch):
  monkeypatch.setattr(validation, "MOST_ROWS", 20)
  rows = [Record(f"l{n}", f"p{n // 3}", "mug", "", b"") for n in range(180)]
  ids = []
  for seed in (0, 1):
    random.Random(seed).shuffle(rows)
    store = tmp_path / str(seed)
    store.mkdir()
    writer = DatasetWriter(store)
    for row in rows:
      writer.add("val", row)
    writer.close()
    source = pipeline.Source([(next(store.glob("*val*")), len(rows))])
    numbers, listings, products, _ = validation.scored_rows(source, "val")
    assert numbers == sorted(numbers)
    assert [rows[n].listing_id for n in numbers] == listings
    assert set(Counter(products).values()) == {3}
    assert len(numbers) == 18
    ids.append(sorted(listings))
  assert ids[0] == ids[1]  # in whichever order they stand


def test_one_product_beyond_the_limit_is_cut(tmp_path, monkeypatch):
  monkeypatch.setattr(validation, "MOST_ROWS", 4)
  writer = DatasetWriter(tmp_path)
  for n in range(9):
    writer.add("val", Record(f"l{n}", "p", "mug", "", b""))
  writer.close()
  source = pipeline.Source([(next(tmp_path.glob("*val*")), 9)])
  assert validation.scored_rows(source, "val")[0] == [0, 1, 2, 3]


def test_scores_are_of_the_rows_chosen(tiny_data, monkeypatch):
  config = tiny_run.get_config("short")
  config.data.path = str(tiny_data)
  config.steps = 0  # no step is compiled
  store = open_dataset(tiny_data)
  monkeypatch.setattr(validation, "MOST_ROWS", store.sizes["val"] * 2 // 3)
  setup = set_up(config, None)
  params = setup.initialise().params
  found = validation.RetrievalEvaluator(setup)(params, setup)
  rows, ids, products, _ = validation.scored_rows(store.source("val"), "val")
  assert len(rows) < store.sizes["val"]
  made = [
    pipeline.make_row(
      store.source("val")[row],
      tokenizer=setup.tokenizer,
      image_size=config.model.image_size,
      max_title_tokens=config.model.max_title_tokens,
    )
    for row in rows
  ]
  batch = pipeline.Batch(*map(np.stack, zip(*made, strict=True)))
  vectors = embed_unit(
    setup.task, jax.device_get(params), batch, modality="both"
  )
  scored = retrieval.score(
    np.asarray(vectors), Items(ids, products), bootstrap=0
  )
  for name in ("recall@10", "map@10"):
    np.testing.assert_allclose(found[f"both/{name}"], scored.summary[name])
