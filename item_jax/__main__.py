"""Flags in, one call out: every command of `item-jax`."""

import argparse
import gc
import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence

from item_jax import __version__
from item_jax.cli import places
from item_jax.cli.output import flush, forgiving, printed_logs
from item_jax.distributed import cluster, processes
from item_jax.errors import WRONG_PATHS, UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
EXIT_NO_READER = 128 + signal.SIGPIPE  # as a shell says of it
# A module of `item_jax.cli` each: `add` says what it takes, `run` does it.
COMMANDS = (
  "synthesize",
  "prepare",
  "train",
  "export",
  "evaluate",
  "probe",
  "fuse",
  "convert",
  "index",
  "package",
  "browse",
  "predict",
  "report",
  "variants",
  "modality",
  "robustness",
  "compare",
  "bench",
  "verify",
  "plan",
  "doctor",
)
# These pass `--config.NAME=VALUE` on to their config file, or options to Beam.
_PASS_ON = ("train", "bench", "compare", "prepare", "plan", "doctor")
# These go on where they stopped: a signal ends them with EXIT_START_AGAIN, from
# here on, before what takes seconds to import.
_GO_ON = ("train", "export", "compare")
# These open no checkpoint, and start without what reads them.
_WITHOUT_A_MODEL = (
  *("evaluate", "probe", "fuse", "convert", "index"),
  *("browse", "report", "variants"),
)
# With these a command has said on stdout what it found.
_SAID_ON_STDOUT = (0, 1, 3)
_UTF8 = "PYTHONUTF8"


_FIELDS = (
  "Options of the config follow as --config.NAME=VALUE, such as"
  " --config.optim.lr=1e-4; item_jax/config.py tells all of them, with units"
  " and reasons."
)
_EXIT_CODES = (
  "Exit codes: 0 done; 1 found something wrong (verify, doctor); 2 cannot work"
  " as asked; 3 too many rows were rejected (prepare); 4 failed on the way; 6 a"
  " process stood still; 75 stopped and saved, the same command goes on; 130"
  " interrupted by Ctrl-C; 143 by SIGTERM."
)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
  """Tells defaults, but not that there is none."""

  def _get_help_string(self, action) -> str | None:
    if action.default is None or action.default is False:
      return action.help
    return super()._get_help_string(action)


def main(argv: list[str] | None = None) -> int:
  """Runs one command and returns its exit code."""
  if argv is None:
    _take_utf8()
    argv = sys.argv[1:]
  # Imports and tracing make objects by the hundred thousand, of which hardly
  # any is garbage: looking at them often takes a sixth of both.
  gc.set_threshold(200_000, 50, 50)
  for name in ("stdout", "stderr"):
    if getattr(sys, name) is None:  # started with it closed
      setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
  ended = processes.interrupted_by_sigterm()
  if argv and argv[0] in _GO_ON:
    ended = processes.ended_by_signals(processes.EXIT_START_AGAIN)
  with ended:
    try:
      try:
        # Results go to stdout and must not be lost without a word.
        with (
          forgiving("stderr"),
          printed_logs(),
          cluster.failing_at_once(),
        ):
          code = cluster.end(_run(argv))
      finally:
        lost = flush(sys.stdout)
      if lost and code in _SAID_ON_STDOUT:
        with forgiving("stderr"):  # it may be on the same full disk
          print(f"item-jax: stopped: {lost}", file=sys.stderr)
        code = code or processes.EXIT_FAILED
      return code
    except BrokenPipeError:
      if not _no_reader():
        raise
      # `| head` has seen enough. Python's own last flush is to find no fault.
      nothing = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nothing, sys.stdout.fileno())
      os.dup2(nothing, sys.stderr.fileno())
      return cluster.end(EXIT_NO_READER)


def _take_utf8() -> None:
  """Begins anew with names of files in UTF-8 where the locale has others."""
  if sys.getfilesystemencoding() == "utf-8" or os.environ.get(_UTF8) == "1":
    return
  os.environ[_UTF8] = "1"  # for what we start, too
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _no_reader() -> bool:
  """Whether nobody reads any more what we print."""
  streams = select.poll()
  for stream in (sys.stdout, sys.stderr):
    streams.register(stream.fileno(), 0)
  return any(event & select.POLLERR for _, event in streams.poll(0))


def _run(argv: list[str]) -> int:
  try:
    return _call(argv)
  except processes.Terminated:
    print("item-jax: interrupted by SIGTERM", file=sys.stderr)
    return EXIT_TERMINATED
  except KeyboardInterrupt:
    print("item-jax: interrupted", file=sys.stderr)
    return EXIT_INTERRUPTED


def _call(argv: list[str]) -> int:
  parser = _make_parser(argv)
  args, rest = parser.parse_known_args(argv)
  if rest and not any(word.startswith("-") for word in rest):
    # `report a=A --data=DATA b=B`: argparse stops at the first flag.
    args, rest = args.mixed(argv[1:], argparse.Namespace(command=args.command))
  if rest and args.command not in _PASS_ON:
    parser.error(f"unknown arguments: {' '.join(rest)}")
  if args.command not in _WITHOUT_A_MODEL:
    from item_jax.cli import programs

    programs.prepare_model()
  try:
    return places.with_copies(args, lambda: args.run(args, rest)) or 0
  except (UserError, *WRONG_PATHS) as error:
    print(f"item-jax: error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR
  except BrokenPipeError:
    raise
  except OSError as error:  # a full disk, as a rule
    print(f"item-jax: stopped: {error}", file=sys.stderr)
    return processes.EXIT_FAILED


def _make_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
  """Makes the parser of the command that is called, or else of all."""
  names = argv[:1] if argv and argv[0] in COMMANDS else COMMANDS
  parser = argparse.ArgumentParser(
    prog="item-jax",
    description="Product embeddings from photo and title (ITEm).",
    epilog=_EXIT_CODES,
    allow_abbrev=False,
  )
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(
    dest="command",
    required=True,
    metavar=None if names is COMMANDS else f"{{{','.join(COMMANDS)}}}",
  )
  for name in names:
    module = importlib.import_module(f"item_jax.cli.{name}")

    def command(name, text, module=module):
      sub = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=_FIELDS if name in {*_PASS_ON} - {"prepare"} else None,
        allow_abbrev=False,
        formatter_class=_Help,
      )
      sub.set_defaults(run=module.run, mixed=sub.parse_known_intermixed_args)
      return sub

    module.add(command)
  return parser


if __name__ == "__main__":
  sys.exit(main())
