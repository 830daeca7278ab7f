"""Names of rows in, what each row is made of out."""

import runpy
from pathlib import Path
from typing import NamedTuple

import item_jax
from item_jax.errors import UserError

COMPARISON = "comparison.py"
ABLATION = "ablation.py"


class System(NamedTuple):
  """One row of the table.

  kind: "trained" by a variant of the config file; "same" as the trained
    system of its one part, whose config is equal; "fused" of the vectors of
    its parts, photo first, or of the two towers of its one part; "untrained",
    as its part is at step 0; "tfidf" and "thumbnail".
  """

  name: str
  kind: str
  parts: tuple[str, ...] = ()
  tuned: bool = False  # the photo's share is chosen on validation, not a half

  @property
  def seeded(self) -> bool:
    return self.kind not in ("tfidf", "thumbnail")


class Known(NamedTuple):
  """What a config file offers."""

  path: str  # as given to `--config`
  variants: tuple[str, ...]
  fusions: dict[str, tuple[str, ...]]

  @property
  def base(self) -> str:
    """The row that the others are held against."""
    return self.variants[0]

  def rows(self) -> dict[str, System]:
    rows = {name: System(name, "trained") for name in self.variants}
    for name, parts in self.fusions.items():
      if len(parts) > 1:  # two towers are fused at a half in their own row
        rows[name] = System(name, "fused", parts)
      tuned = f"{name}_tuned"
      rows[tuned] = System(tuned, "fused", parts, tuned=True)
    rows["untrained"] = System("untrained", "untrained", (self.base,))
    for name in ("tfidf", "thumbnail"):
      rows[name] = System(name, name)
    return rows


def find_config(name: str) -> str:
  """A file of `configs/`: here, or beside the package in a checkout."""
  here = Path("configs") / name
  beside = Path(item_jax.__file__).parents[1] / here
  for path in (here, beside):
    if path.is_file():
      return str(path)
  raise UserError(f"neither {here} nor {beside} is there: give --config=FILE")


def read_known(path: str) -> Known:
  """Reads VARIANTS and, where there are any, FUSIONS of a config file."""
  if not Path(path).is_file():
    raise UserError(f"config {path} is not there")
  module = runpy.run_path(path)  # as it is now: no compiled copy is read
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
  return Known(path, variants, fusions)


def choose(text: str, known: Known) -> tuple[System, ...]:
  """ "all" or names parted by commas; what a row is made of is a row as well.

  Returns:
    In the config file's order: parts come before what is made of them.
  """
  rows = known.rows()
  names = [name.strip() for name in text.split(",")]
  names = list(rows) if names == ["all"] else names
  unknown = sorted(set(names) - rows.keys())
  if unknown:
    raise UserError(
      f"no such systems: {', '.join(unknown) or repr(text)}; {known.path}"
      f" offers {', '.join(rows)}"
    )
  wanted = set(names)
  for name in names:
    wanted.update(rows[name].parts)
  return tuple(row for name, row in rows.items() if name in wanted)
