"""Lists the systems that can be compared, and what each is made of."""

import runpy
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import item_jax
from item_jax.errors import UserError

COMPARISON = "comparison.py"
ABLATION = "ablation.py"
BASELINES = {"tfidf": "title", "thumbnail": "image"}  # and what they see
WEIGHTS = ("image_weights", "text_weights")  # fields of a request


class System(NamedTuple):
  """One row of the table.

  kind: "trained" by a variant of the config file; "same" as the trained
    system in `parts`, whose config is equal; "fused" from the vectors of its
    two parts, the image's first, or of the two towers of its one part;
    "untrained", its part at step 0; "frozen", weights of another project as
    they are; "hybrid", its parts joined as validation says; "tfidf" and
    "thumbnail", which learn nothing.
  """

  name: str
  kind: str
  parts: tuple[str, ...] = ()
  tuned: bool = False  # the image's weight is chosen on validation, not 0.5
  seeded: bool = True  # its numbers differ from seed to seed
  weights: tuple[str, ...] = ()  # fields of a request that it needs


class AvailableSystems(NamedTuple):
  """The systems that a config file offers."""

  path: str  # as given to `--config`
  variants: tuple[str, ...]
  fusions: dict[str, tuple[str, ...]]
  frozen: tuple[str, ...] = ()
  # {system: (field of the request with its weights, options set to it)}
  weights: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType({})
  hybrids: tuple[str, ...] = ()  # "PART+PART", of the names of other rows

  @property
  def base(self) -> str:
    """The system that all others are compared with."""
    return self.variants[0]

  def rows(self) -> dict[str, System]:
    """Returns {name: system}, parts before what is made of them.

    Raises:
      UserError: a hybrid of a row that is not there.
    """
    found: dict[str, System] = {}

    def add(name: str, kind: str, parts=(), **more) -> None:
      of_parts = [flag for part in parts for flag in found[part].weights]
      own = [self.weights[name][0]] if name in self.weights else []
      weights = tuple(dict.fromkeys([*own, *of_parts]))
      found[name] = System(name, kind, tuple(parts), weights=weights, **more)

    for name in self.variants:
      add(name, "trained")
    for name, parts in self.fusions.items():
      if len(parts) > 1:  # one model's two towers have their own row at 0.5
        add(name, "fused", parts)
      add(f"{name}_tuned", "fused", parts, tuned=True)
    add("untrained", "untrained", (self.base,))
    for name in BASELINES:
      add(name, name, seeded=False)
    for name in self.frozen:
      add(name, "frozen", seeded=False)
    joined = {*self.variants, *self.frozen, *BASELINES}
    for name in self.hybrids:
      parts = name.split("+")
      if len(parts) < 2 or not set(parts) <= joined:
        raise UserError(
          f"{self.path}: HYBRIDS has {name!r}; expected two or more of"
          f" {', '.join(sorted(joined))}, joined by +"
        )
      add(name, "hybrid", parts, seeded=any(found[p].seeded for p in parts))
    return found


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
  """Reads VARIANTS and what else there is of systems from a config file.

  That is FUSIONS, FROZEN, WEIGHTS and HYBRIDS, as `AvailableSystems` has them.

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
  weights = dict(module.get("WEIGHTS", {}))
  for name, (flag, _) in weights.items():
    if flag not in WEIGHTS:
      raise UserError(
        f"{path}: WEIGHTS[{name!r}] is of {flag!r}; expected one of"
        f" {', '.join(WEIGHTS)}"
      )
  frozen, hybrids = (
    tuple(module.get(name, ())) for name in ("FROZEN", "HYBRIDS")
  )
  return AvailableSystems(path, variants, fusions, frozen, weights, hybrids)


def choose(
  text: str, available: AvailableSystems, given: Collection[str] = WEIGHTS
) -> tuple[System, ...]:
  """Chooses systems by name, and adds the systems that they are made of.

  Args:
    text: "all", or names separated by commas.
    given: which weights there are; "all" leaves out what needs others.

  Returns:
    In the config file's order: parts come before what is made of them.

  Raises:
    UserError: a name is unknown, or of a system that needs weights.
  """
  rows = available.rows()
  names = [name.strip() for name in text.split(",")]
  if names == ["all"]:
    names = [name for name, row in rows.items() if {*row.weights} <= {*given}]
  unknown = sorted(set(names) - rows.keys())
  if unknown:
    raise UserError(
      f"no such systems: {', '.join(unknown) or repr(text)}; {available.path}"
      f" offers {', '.join(rows)}"
    )
  wanted = set(names)
  for name in names:
    wanted.update(rows[name].parts)
    if lacking := [flag for flag in rows[name].weights if flag not in given]:
      flags = ", ".join(f"--{flag}=FOLDER" for flag in lacking)
      raise UserError(f"{name} needs weights of another project: {flags}")
  return tuple(row for name, row in rows.items() if name in wanted)


def left_out(
  text: str, available: AvailableSystems, given: Collection[str]
) -> dict[str, list[str]]:
  """The systems that "all" leaves out, by the weights that they need."""
  found: dict[str, list[str]] = {}
  for name, row in available.rows().items() if text.strip() == "all" else ():
    if lacking := [flag for flag in row.weights if flag not in given]:
      found.setdefault(" and ".join(f"--{x}" for x in lacking), []).append(name)
  return found
