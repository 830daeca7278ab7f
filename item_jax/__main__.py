"""Flags in, one call out: every command of `item-jax`."""

import argparse
import importlib
import sys

from absl import logging

from item_jax import __version__
from item_jax.errors import UserError

EXIT_USER_ERROR = 2
# A module of `item_jax.commands` each: `add` says what it takes, `run` does it.
COMMANDS = (
  "synthesize",
  "prepare",
  "train",
  "export",
  "evaluate",
  "probe",
  "fuse",
  "predict",
  "report",
  "compare",
  "bench",
  "verify",
  "plan",
  "doctor",
)
# These pass `--config.NAME=VALUE` on to their config file, or options to Beam.
_PASS_ON = ("train", "bench", "compare", "prepare", "plan", "doctor")


def main(argv: list[str] | None = None) -> int:
  """Runs one command and returns its exit code."""
  argv = sys.argv[1:] if argv is None else argv
  parser = _make_parser()
  args, rest = parser.parse_known_args(argv)
  if rest and args.command not in _PASS_ON:
    parser.error(f"unknown arguments: {' '.join(rest)}")
  # Orbax warns of metrics and metadata that are absent on purpose.
  logging.set_verbosity(logging.ERROR)
  try:
    return args.run(args, rest) or 0
  except (UserError, FileNotFoundError, FileExistsError) as error:
    print(f"item-jax: error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR


def _make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="item-jax",
    description="Product embeddings from photo and title (ITEm).",
    allow_abbrev=False,
  )
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(dest="command", required=True)
  for name in COMMANDS:
    module = importlib.import_module(f"item_jax.commands.{name}")

    def command(name, text, module=module):
      sub = commands.add_parser(
        name,
        help=text,
        description=text,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
      )
      sub.set_defaults(run=module.run)
      return sub

    module.add(command)
  return parser


if __name__ == "__main__":
  sys.exit(main())
