"""Lists the systems that can be compared, and what each is made of."""

import runpy
from pathlib import Path
from typing import NamedTuple

import item_jax
from item_jax.errors import UserError

COMPARISON = "comparison.py"
ABLATION = "ablation.py"
BASELINES = ("tfidf", "thumbnail")


class System(NamedTuple):
  """One row of the table.

  kind: "trained" by a variant of the config file; "same" as the trained
    system in `parts`, whose config is equal; "fused" from the vectors of its
    two parts, the image's first, or of the two towers of its one part;
    "untrained", its part at step 0; "tfidf" and "thumbnail", which learn
    nothing.
  """

  name: str
  kind: str
  parts: tuple[str, ...] = ()
  tuned: bool = False  # the image's weight is chosen on validation, not 0.5

  @property
  def seeded(self) -> bool:
    """Whether its numbers differ from seed to seed."""
    return self.kind not in BASELINES


class AvailableSystems(NamedTuple):
  """The systems that a config file offers."""

  path: str  # as given to `--config`
  variants: tuple[str, ...]
  fusions: dict[str, tuple[str, ...]]

  @property
  def base(self) -> str:
    """The system that all others are compared with."""
    return self.variants[0]

  def rows(self) -> dict[str, System]:
    """Returns {name: system}, parts before what is made of them."""
    rows = [System(name, "trained") for name in self.variants]
    for name, parts in self.fusions.items():
      if len(parts) > 1:  # one model's two towers have their own row at 0.5
        rows.append(System(name, "fused", parts))
      rows.append(System(f"{name}_tuned", "fused", parts, tuned=True))
    rows.append(System("untrained", "untrained", (self.base,)))
    rows += [System(name, name) for name in BASELINES]
    return {row.name: row for row in rows}


def find_config(name: str) -> str:
  """Finds a file of `configs/` here, or beside the package in a checkout.

  Raises:
    UserError: it is in neither place.
  """
  here = Path("configs") / name
  beside = Path(item_jax.__file__).parents[1] / here
  for path in (here, beside):
    if path.is_file():
      return str(path)
  raise UserError(f"neither {here} nor {beside} is there: give --config=FILE")


def read_available(path: str) -> AvailableSystems:
  """Reads VARIANTS and, where there are any, FUSIONS from a config file.

  Raises:
    UserError: there is no such file, or it does not name them correctly.
  """
  if not Path(path).is_file():
    raise UserError(f"config {path} is not there")
  module = runpy.run_path(path)  # never a stale compiled copy
  variants = tuple(module.get("VARIANTS", ()))
  if not variants:
    raise UserError(
      f"{path} names no VARIANTS: a comparison needs a config file that does,"
      f" as configs/{COMPARISON}"
    )
  fusions = dict(module.get("FUSIONS", {}))
  for name, parts in fusions.items():
    if not set(parts) <= set(variants) or len(parts) not in (1, 2):
      raise UserError(
        f"{path}: FUSIONS[{name!r}] is {parts}; expected one or two of"
        f" {', '.join(variants)}"
      )
  return AvailableSystems(path, variants, fusions)


def choose(text: str, available: AvailableSystems) -> tuple[System, ...]:
  """Chooses systems by name, and adds the systems that they are made of.

  Args:
    text: "all", or names separated by commas.

  Returns:
    In the config file's order: parts come before what is made of them.

  Raises:
    UserError: a name is unknown.
  """
  rows = available.rows()
  names = [name.strip() for name in text.split(",")]
  names = list(rows) if names == ["all"] else names
  unknown = sorted(set(names) - rows.keys())
  if unknown:
    raise UserError(
      f"no such systems: {', '.join(unknown) or repr(text)}; {available.path}"
      f" offers {', '.join(rows)}"
    )
  wanted = set(names)
  for name in names:
    wanted.update(rows[name].parts)
  return tuple(row for name, row in rows.items() if name in wanted)
