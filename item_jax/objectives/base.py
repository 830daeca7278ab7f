"""States what a training step needs to know of an objective."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from item_jax.config import Config
from item_jax.models.base import Network, Vocabulary
from item_jax.models.memory import Head
from item_jax.models.passes import Pass


class Context(NamedTuple):
  """What the maker of an objective is given: `make_objective(context)`."""

  config: Config
  network: Network
  vocabulary: Vocabulary
  categories: tuple[str, ...] = ()  # of a task that tells them apart


def _no_params(key) -> dict:
  return {}


def _unknown(store, split, tokenizer) -> dict:
  return {}


class Objective(NamedTuple):
  """What a training step needs to know of a task; all are pure functions.

  corrupt(root, step, batch) -> view, over the whole global batch.
  counts(view) -> {name: denominator}, over the whole global batch.
  totals(params, view, key) -> ({name: numerator}, batch_stats), over any part
    of it; `key` is dropout's. Every name of `weights` is a loss; others are
    measures. `batch_stats` are top-level entries of params that no gradient
    moves, as they stand after the step: batch norm's running statistics. {}
    where there are none.
  weights: {name: weight in the sum of losses}.

  The rest is what it says of itself, and may be left out:

  init_params(key) -> params that it reads beside those of the embedding.
  chance_levels(store, split, tokenizer) -> {loss: its value for a model that
    sees nothing}.
  chance_of_params(params, read) -> {loss: the same}, of losses whose targets
    are made by the parameters that a run starts from; None without such.
    read(n) gives Batches of n rows spread over the training split.
  predict(params, batch) -> float32 [B,C], log-probabilities of the categories.
  train_flops: of a pair, forward and backward.
  passes: through encoders, of a pair, whose activations the step keeps.
  heads: what predicts outside of `passes`.
  token_decoders: how many predict tokens by the token table.
  whole_batch: where it compares the rows of a batch, and so needs the whole
    global batch in one piece, the option to blame: "loss.align=1.0".
  """

  corrupt: Callable
  counts: Callable
  totals: Callable
  weights: dict[str, float]
  init_params: Callable = _no_params
  chance_levels: Callable = _unknown
  chance_of_params: Callable | None = None
  predict: Callable | None = None
  train_flops: float = 0.0
  passes: tuple[Pass, ...] = ()
  heads: tuple[Head, ...] = ()
  token_decoders: int = 0
  whole_batch: str = ""


def combine(objectives: Sequence[Objective]) -> Objective:
  """Adds objectives up; each sees the batch as it came.

  All are given the same keys: one that draws bits takes a purpose of its own
  (`keys.key_for`), or shares them knowingly.

  Raises:
    ValueError: two have a loss, a measure or parameters of one name.
  """
  if len(objectives) == 1:
    return objectives[0]

  def corrupt(root, step, batch):
    return tuple(one.corrupt(root, step, batch) for one in objectives)

  def counts(views) -> dict:
    return _merged(
      one.counts(view) for one, view in zip(objectives, views, strict=True)
    )

  def totals(params, views, key) -> tuple[dict, dict]:
    parts = [
      one.totals(params, view, key)
      for one, view in zip(objectives, views, strict=True)
    ]
    return _merged(part[0] for part in parts), _merged(p[1] for p in parts)

  def init_params(key) -> dict:
    return _merged(one.init_params(key) for one in objectives)

  def chance_levels(store, split, tokenizer) -> dict:
    return _merged(
      one.chance_levels(store, split, tokenizer) for one in objectives
    )

  return Objective(
    corrupt,
    counts,
    totals,
    _merged(one.weights for one in objectives),
    init_params=init_params,
    chance_levels=chance_levels,
    chance_of_params=next(
      (x.chance_of_params for x in objectives if x.chance_of_params), None
    ),
    predict=next((x.predict for x in objectives if x.predict), None),
    train_flops=sum(one.train_flops for one in objectives),
    passes=tuple(x for one in objectives for x in one.passes),
    heads=tuple(x for one in objectives for x in one.heads),
    token_decoders=sum(one.token_decoders for one in objectives),
    whole_batch=next((x.whole_batch for x in objectives if x.whole_batch), ""),
  )


def _merged(parts) -> dict:
  whole = {}
  for part in parts:
    if both := whole.keys() & part.keys():
      raise ValueError(f"two objectives have {', '.join(sorted(both))}")
    whole |= part
  return whole
