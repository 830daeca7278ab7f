"""Times our exact search beside faiss's IndexFlatIP, in turns.

    python tests/peers/faiss_search.py --queries=4096

Both find the k nearest of each query among unit vectors: the same ones, which
is looked at before anything is timed. Ours is the whole call; of faiss the
search alone, and with the filling of its index before it. faiss finds the query
itself too, so it is asked for one more.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # also in the children that it starts
  sys.path.insert(0, str(Path(__file__).parents[2]))

import turns

from item_jax.workers import count_cores

OURS = "item_jax"


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--items", type=int, default=100_000)
  parser.add_argument("--dim", type=int, default=768)
  parser.add_argument("--queries", type=int, default=4_096)
  parser.add_argument("--k", type=int, default=10)
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
  args = parser.parse_args()
  if importlib.util.find_spec("faiss") is None:
    sys.exit("faiss is not installed: pip install -e '.[engines]'")
  check(args.dim, args.k)
  given = (args.items, args.dim, args.queries, args.k)
  sides = [
    turns.Side(OURS, ours, given),
    turns.Side("faiss, searched", faiss_search, (*given, False)),
    turns.Side("faiss, built and searched", faiss_search, (*given, True)),
  ]
  rounds = turns.take_turns(sides, rounds=args.rounds, seconds=args.seconds)
  work = args.queries
  print(turns.describe(rounds, ours=OURS, work=work, unit="queries"))


def unit_vectors(items: int, dim: int) -> np.ndarray:
  """Random rows of length 1, float32 [items, dim]."""
  random = np.random.default_rng(0)
  vectors_ND = random.standard_normal((items, dim), np.float32)
  vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  return vectors_ND


def check(dim: int, k: int) -> None:
  """Raises AssertionError unless both find the same rows."""
  import faiss

  from item_jax.evaluation.search import search

  vectors_ND = unit_vectors(2_000, dim)
  index = faiss.IndexFlatIP(dim)
  index.add(vectors_ND)
  scores_QK, rows_QK = index.search(vectors_ND[:50], k + 1)
  found = search(vectors_ND, names(2_000), k=k, queries=np.arange(50))
  np.testing.assert_array_equal(rows_QK[:, 0], np.arange(50))
  np.testing.assert_array_equal(rows_QK[:, 1:], found.rows_QK)
  np.testing.assert_allclose(scores_QK[:, 1:], found.scores_QK, atol=1e-5)


def names(items: int) -> list[str]:
  """Ids in the order of the rows."""
  return [f"{row:010d}" for row in range(items)]


def ours(items: int, dim: int, queries: int, k: int):
  """The search, with all that comes before its first product."""
  from item_jax.evaluation.search import search

  vectors_ND, ids = unit_vectors(items, dim), names(items)
  rows = np.arange(queries)

  def run(count: int) -> None:
    for _ in range(count):
      search(vectors_ND, ids, k=k, queries=rows)

  return run


def faiss_search(items: int, dim: int, queries: int, k: int, build: bool):
  """faiss on as many threads as there are cores."""
  import faiss

  faiss.omp_set_num_threads(count_cores())
  vectors_ND = unit_vectors(items, dim)
  query_QD = vectors_ND[:queries]

  def filled():
    index = faiss.IndexFlatIP(dim)
    index.add(vectors_ND)
    return index

  index = filled()

  def run(count: int) -> None:
    for _ in range(count):
      (filled() if build else index).search(query_QD, k + 1)

  return run


if __name__ == "__main__":
  main()
