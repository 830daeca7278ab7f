"""Times the exact search against the matrix product it cannot do without."""

import json
import os
import time
from pathlib import Path

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.search import search

ROUNDS = 3  # the best counts: a busy machine only ever slows one down
_ROWS = 512  # queries a plain product; their scores are overwritten


def bench_search(
  *,
  items: int,
  dim: int,
  queries: int,
  k: int = 10,
  json_path: Path | None = None,
) -> dict:
  """Searches random unit vectors and multiplies the same matrices.

  Args:
    items: rows of the index.
    dim: values a row.
    queries: how many of these rows are queries.
    k: results a query.

  Returns:
    queries_per_second, gflops (2 dim operations a pair) and seconds of the
    search, gflops of the plain product (matmul_gflops), and their ratio.
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
  for _ in range(ROUNDS):  # in turns, so that both meet the same machine
    plain = min(plain, _seconds(multiply))
    found = min(
      found, _seconds(lambda: search(vectors_ND, ids, k=k, queries=rows))
    )
  work = 2 * items * dim * queries / 1e9
  result = {
    "items": items,
    "dim": dim,
    "queries": queries,
    "k": k,
    "cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "seconds": found,
    "queries_per_second": queries / found,
    "gflops": work / found,
    "matmul_gflops": work / plain,
    "ratio": plain / found,
  }
  print(
    f"exact top {k} of {items:,} x {dim} for {queries:,} queries:"
    f" {result['queries_per_second']:,.0f} queries/s,"
    f" {result['gflops']:,.1f} GFLOP/s; a plain matrix product"
    f" {result['matmul_gflops']:,.1f} GFLOP/s ({result['ratio']:.0%}),"
    f" {result['cores']} cores"
  )
  if json_path:
    Path(json_path).write_text(json.dumps(result, indent=2) + "\n", "utf-8")
  return result


def _seconds(work) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start
