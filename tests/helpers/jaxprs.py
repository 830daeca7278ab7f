"""Looks into what jax traced."""

from collections.abc import Iterator
from typing import Any


def flat(jaxpr: Any) -> Iterator[Any]:
  """Every operation of a program, those of the programs that it calls too."""
  for eqn in jaxpr.eqns:
    inner = [getattr(v, "jaxpr", v) for v in eqn.params.values()]
    inner = [v for v in inner if hasattr(v, "eqns")]
    if not inner:
      yield eqn
    for part in inner:
      yield from flat(part)
