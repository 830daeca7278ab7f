"""Times the exact search against a matrix product of the same size."""

import dataclasses
import time
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.search import search
from item_jax.workers import count_cores

ROUNDS = 3  # the best counts: other work on the machine only slows one down
_ROWS = 512  # queries in a plain product; their scores are overwritten


@dataclasses.dataclass(frozen=True)
class SearchRates:
  """How quick the search is."""

  items: int
  dim: int
  queries: int
  k: int
  cores: int
  seconds: float
  queries_per_second: float
  gflops: float  # a second, of 2 dim operations a pair
  matmul_gflops: float  # the same of the plain product
  ratio: float  # of the two

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  def __str__(self) -> str:
    return (
      f"exact top {self.k} of {self.items:,} x {self.dim} for"
      f" {self.queries:,} queries: {self.queries_per_second:,.0f} queries/s,"
      f" {self.gflops:,.1f} GFLOP/s; a plain matrix product"
      f" {self.matmul_gflops:,.1f} GFLOP/s ({self.ratio:.0%}),"
      f" {self.cores} cores"
    )


def bench_search(
  *, items: int, dim: int, queries: int, k: int = 10
) -> SearchRates:
  """Searches random unit vectors, and multiplies the same matrices.

  Args:
    items: rows of the index.
    dim: values in a row.
    queries: how many of these rows are queries.
    k: results of a query.

  Raises:
    UserError: there is nothing to search.
  """
  if not 0 < queries <= items or dim < 1 or k < 1:
    raise UserError(
      f"cannot search {queries} queries among {items} items of {dim} values"
      f" for {k} results: expected 0 < queries <= items, dim and k from 1"
    )
  random = np.random.default_rng(0)
  vectors_ND = random.standard_normal((items, dim), np.float32)
  vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  ids = [f"{row:010d}" for row in range(items)]
  rows = np.arange(queries)
  score_QI = np.empty((min(_ROWS, queries), items), np.float32)

  def multiply():
    for first in range(0, queries, _ROWS):
      some_QD = vectors_ND[first : min(first + _ROWS, queries)]
      np.matmul(some_QD, vectors_ND.T, out=score_QI[: len(some_QD)])

  plain = found = float("inf")
  for _ in range(ROUNDS):  # in turns, so that both meet the same load
    plain = min(plain, _seconds(multiply))
    found = min(
      found, _seconds(lambda: search(vectors_ND, ids, k=k, queries=rows))
    )
  work = 2 * items * dim * queries / 1e9
  return SearchRates(
    items=items,
    dim=dim,
    queries=queries,
    k=k,
    cores=count_cores(),
    seconds=found,
    queries_per_second=queries / found,
    gflops=work / found,
    matmul_gflops=work / plain,
    ratio=plain / found,
  )


def _seconds(work) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start
