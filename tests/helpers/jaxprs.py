"""Looks into what jax traced."""

from collections.abc import Iterator
from typing import Any


def flat(jaxpr: Any) -> Iterator[Any]:
  """Every operation of a program, those of the programs that it calls too.

  Of what differs by platform, those of accelerators.
  """
  for eqn in jaxpr.eqns:
    inner = called(eqn)
    if not inner:
      yield eqn
    for part in inner:
      yield from flat(part)


def called(eqn: Any) -> list:
  """The programs that an operation calls; of branches the last, the default."""
  values = [
    value[-1] if name == "branches" else value
    for name, value in eqn.params.items()
  ]
  inner = [getattr(v, "jaxpr", v) for v in values]
  return [v for v in inner if hasattr(v, "eqns")]
