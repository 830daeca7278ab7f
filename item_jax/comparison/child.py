"""Runs `item-jax` so that it ends when the process that asked for it ends.

python -m item_jax.comparison.child PARENT_ID COMMAND ...
"""

import runpy
import sys

from item_jax.processes import die_with_parent


def main() -> None:
  _, parent, *words = sys.argv
  die_with_parent(int(parent))
  sys.argv = ["item-jax", *words]
  runpy.run_module("item_jax", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()
