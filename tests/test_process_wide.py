"""Threads that search or decode at once leave the process as it was."""

import importlib
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import threadpoolctl

from item_jax.evaluation import search as search_lib
from item_jax.process_wide import no_warnings

COUNT = 40


def blas_threads() -> list[int]:
  found = threadpoolctl.threadpool_info()
  return [one["num_threads"] for one in found if one["user_api"] == "blas"]


def test_the_last_to_leave_restores_what_the_first_has_found():
  before = list(warnings.filters)
  first, second = threading.Event(), threading.Event()

  def leave_first():
    with no_warnings:
      first.set()
      assert second.wait(60)

  thread = threading.Thread(target=leave_first)
  thread.start()
  assert first.wait(60)
  with no_warnings:
    second.set()
    thread.join(60)
    # Who is still within is not disturbed.
    assert warnings.filters[0][:3:2] == ("ignore", Warning)
  assert list(warnings.filters) == before


def test_searches_in_threads_leave_products_their_threads():
  importlib.import_module("faiss")  # brings an OpenBLAS over OpenMP
  vectors = np.random.default_rng(0).normal(size=(COUNT, 8))
  ids = [str(row) for row in range(COUNT)]
  limits = []
  before = blas_threads()

  def candidates(problem, **how):
    find = search_lib._candidates(problem, **how)

    def waiting(rows):
      time.sleep(0.05)  # while others begin
      limits.append(blas_threads())
      return find(rows)

    return waiting

  def search(_):
    found = search_lib.search(vectors, ids, k=3, candidates=candidates)
    return found.rows_QK

  with ThreadPoolExecutor(3) as pool:
    found = list(pool.map(search, range(6)))
  assert limits == [[1] * len(before)] * 6
  assert blas_threads() == before
  for rows_QK in found:
    np.testing.assert_array_equal(rows_QK, found[0])
