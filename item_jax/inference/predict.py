"""A trained model's own leaf categories: a workdir and listings in; paths,
probabilities and, where the truth is known, scores out."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from item_jax.data import pipeline
from item_jax.data.records import open_store
from item_jax.data.unreadable import listed
from item_jax.errors import UserError
from item_jax.evaluation import labels
from item_jax.files import check_folders
from item_jax.inference import export_shards
from item_jax.inference.embedder import Embedder, check_batch_size, load
from item_jax.inference.export import check_data
from item_jax.ingest.readers.cells import spaced
from item_jax.training.run import read_run


class Predicted(NamedTuple):
  """What a model says of N listings; those that can be read."""

  ids: list[str]
  products: list[str]
  true: list[str]  # "" where a listing has none
  said: list[list[str]]  # the likeliest categories of each, best first
  probability_NK: np.ndarray  # float32, theirs
  answers: labels.Answers | None  # None where no listing has a known category
  unreadable: list[str]  # ids of those that are left out


def predict_split(
  workdir,
  *,
  data,
  split: str,
  out,
  top: int = 5,
  step: int | None = None,
  batch_size: int = 256,
  bootstrap: int = 1000,
  json_path: Path | None = None,
) -> Predicted:
  """Predicts a split of a prepared catalogue; writes a CSV, prints the scores.

  Args:
    out: CSV of id, true (the path it has), predicted (the likeliest path),
      leaf (its last step), probability, then top_2, probability_2 and so on;
      under a temporary name until it is complete.
    top: categories a listing; fewer where the model knows fewer.
    step: which checkpoint; as `embed.load`.
    bootstrap: resamples for the intervals.
    json_path: where the scores are written, if anywhere.

  Raises:
    UserError: a model that predicts no category; data that were not prepared
      as its own.
  """
  check_folders(out, json_path)
  check_batch_size(batch_size)
  embedder = _load(workdir, step, top)
  store = open_store(data)
  check_data(embedder.run, store, workdir)
  found = predict(embedder, store, split, top=top, batch_size=batch_size)
  write_csv(Path(out), found)
  print(f"{out}: {len(found.ids):,} listings, step {embedder.step}")
  if found.unreadable:
    print(
      f"{len(found.unreadable):,} that cannot be read are left out:"
      f" {listed(found.unreadable)}"
    )
  if found.answers is None:
    print("no listing has a category that the model knows: nothing to score")
    return found
  scores = labels.summary(found.answers)
  scores["interval"] = labels.intervals(
    found.answers, found.products, resamples=bootstrap
  )
  print(_table(scores))
  if json_path:
    text = json.dumps(scores, indent=2) + "\n"
    Path(json_path).write_text(text, "utf-8")
  return found


def predict(
  embedder: Embedder, store, split: str, *, top: int = 5, batch_size: int = 256
) -> Predicted:
  """Predicts every listing of a split that can be read, in their order."""
  source = store.source(split)
  items = [
    export_shards.read_item(source, split, n) for n in range(len(source))
  ]
  devices = jax.device_count()
  batch_size = -(-batch_size // devices) * devices
  config = embedder.config
  batches = pipeline.ordered_batches(
    store,
    split,
    embedder.tokenizer,
    image_size=config.model.image_size,
    max_title_tokens=config.model.max_title_tokens,
    batch_size=batch_size,
  )
  said, probabilities, bad = [], [], []
  # Five are always ranked: top-5 accuracy wants them, whatever is shown.
  deep = max(top, labels.TOP)
  for batch in batches:
    ranked_BK, some_BK = rank(embedder.predict_batch(batch), deep)
    said += [[embedder.categories[c] for c in line] for line in ranked_BK]
    probabilities.append(some_BK)
    bad.append(batch.bad_B)
  bad_N = np.concatenate(bad)[: len(items)]  # the last batch is filled up
  unreadable = [items[row].id for row in np.flatnonzero(bad_N)]
  good_N = np.flatnonzero(~bad_N)
  said = [said[row] for row in good_N]
  ids, products, true = (
    [getattr(items[row], name) for row in good_N]
    for name in ("id", "product", "category")
  )
  answers = None
  if set(true) & set(embedder.categories):
    answers = labels.answers(
      true, [line[0] for line in said], said, classes=embedder.categories
    )
  return Predicted(
    ids,
    products,
    true,
    [line[:top] for line in said],
    np.concatenate(probabilities)[good_N, :top],
    answers,
    unreadable,
  )


def rank(log_p_BC: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
  """The likeliest classes, int [B, top], and their probabilities.

  Of equal ones the first class comes first; fewer where there are fewer.
  """
  best_BK = np.argsort(-log_p_BC, axis=1, kind="stable")[:, :top]
  return best_BK, np.exp(np.take_along_axis(log_p_BC, best_BK, axis=1))


def write_csv(path: Path, found: Predicted) -> None:
  """Writes a line a listing, all of them or nothing."""
  shown = found.probability_NK.shape[1]
  header = ["id", "true", "predicted", "leaf", "probability"]
  for place in range(2, shown + 1):
    header += [f"top_{place}", f"probability_{place}"]
  part = path.with_name(path.name + ".part")
  with part.open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row, said in enumerate(found.said):
      first, *others = (f"{share:.6f}" for share in found.probability_NK[row])
      line = [found.ids[row], found.true[row], said[0], _leaf(said[0]), first]
      for label, share in zip(said[1:], others, strict=True):
        line += [label, share]
      writer.writerow(line)
  part.replace(path)


def predict_listings(
  workdir,
  *,
  images: Sequence[str] | None = None,
  titles: Sequence[str] | None = None,
  top: int = 5,
  step: int | None = None,
) -> None:
  """Prints the likeliest categories of single photos and titles.

  Args:
    images: files; "" where a listing has none. Absent: all are missing.
    titles: likewise.

  Raises:
    UserError: a photo that cannot be read; a listing of which the model would
      see nothing.
  """
  images = images and [image if image.strip() else "" for image in images]
  titles = titles and [spaced(title) for title in titles]
  embedder = _load(workdir, step, top)
  log_p_NC = embedder.predict(
    images=images,
    titles=titles,
    batch_size=min(64, max(len(images or ()), len(titles or ()))),
  )
  _check_seen(embedder.task.modality, images, titles, rows=len(log_p_NC))
  ranked_NK, probability_NK = rank(log_p_NC, top)
  for row, (line, shares) in enumerate(
    zip(ranked_NK, probability_NK, strict=True)
  ):
    what = [given[row] for given in (images, titles) if given]
    print(" | ".join(name for name in what if name))
    for c, share in zip(line, shares, strict=True):
      path = embedder.categories[c]
      print(f"  {share:7.2%}  {_leaf(path)}  ({path})")


def _check_seen(side: str | None, images, titles, *, rows: int) -> None:
  """Refuses a listing without what the model looks at: it would be told the
  most frequent categories as if they were its own."""
  given = {"photo": images, "title": titles}
  if side:
    given = {"photo": images} if side == "image" else {"title": titles}
  for row in range(rows):
    if not any(values and values[row] for values in given.values()):
      raise UserError(
        f"listing {row + 1} has no {' and no '.join(given)}, and the model sees"
        " nothing else"
      )


def _leaf(path: str) -> str:
  """A category's own name, without those above it."""
  return path.rsplit(" > ", 1)[-1]


def _load(workdir, step, top: int) -> Embedder:
  if top < 1:
    raise UserError(f"--top {top}: expected 1 or more")
  run = read_run(Path(workdir))
  if not run.categories:  # now, not after loading the weights
    raise UserError(
      f"{workdir} holds a model of task={run.config.task!r}, which predicts no"
      " category: train one with --config.task=category, or ask its embeddings"
      " with item-jax probe"
    )
  return load(workdir, step=step)


def _table(scores: dict) -> str:
  lines = [
    f"{scores['rows']:,} scored, {scores['without_category']:,} without a"
    f" category and {scores['unknown_category']:,} of one that training lacks"
    f" left out; {scores['classes_with_support']:,} of {scores['classes']:,}"
    " categories have scored listings"
  ]
  for name, shown in labels.SHOWN.items():
    low, high = scores["interval"][name]
    lines.append(f"{shown:9} {scores[name]:.4f} [{low:.4f}, {high:.4f}]")
  return "\n".join(lines)
