"""Runs `item-jax verify`: checks what another command wrote, a line each."""

from collections import Counter

from item_jax.cli import places
from item_jax.cli.flags import TRAINED, call

EXIT_NOT_WHOLE = 1


def add(command) -> None:
  sub = command(
    "verify",
    "compare a data set, a run, a checkpoint, an export, a folder of exports,"
    " an index or the runs of a comparison with what was written: 0 whole, 1"
    " damaged or unfinished, 2 none of these",
  )
  sub.add_argument("path", type=places.ANY_STATE, help="the folder")
  sub.add_argument(
    "--records",
    action="store_true",
    help="read every record of a data set too, and name those that are lost",
  )
  sub.add_argument(
    "--unseen_by",
    type=TRAINED,
    metavar="DATA",
    help="run=RUN, or the data set that it was trained on: name the listings of"
    " a data set that were seen there, by their product's id or in a copy of"
    " their image",
  )


def run(args, rest) -> int:
  from item_jax.diagnostics import verify

  here = str(args.path)
  shown = getattr(args, "shown", here)
  kind = verify.kind_of(args.path)
  seen = Counter()
  for finding in call(verify.verify, args, args.path):
    print(f"{finding.state}: {finding.text.replace(here, shown)}", flush=True)
    seen[finding.state] += 1
  counts = ", ".join(f"{count} {state}" for state, count in seen.items())
  print(f"{shown}: {kind}, {counts}")
  return 0 if set(seen) == {verify.WHOLE} else EXIT_NOT_WHOLE
