"""What `--help` says of every command."""

import re

import pytest

from item_jax.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_each_option_is(command, capsys):
  with pytest.raises(SystemExit):
    main([command, "--help"])
  said = capsys.readouterr().out
  assert "(default: None)" not in said
  assert "(default: False)" not in said
  # Options, and what must be given without a name: no line is one alone.
  lines = said[said.index("-h, --help") :].splitlines()
  for line, following in zip(lines, [*lines[1:], ""], strict=True):
    if re.match(r"  \S", line):
      assert re.search(r"\S  +\S", line) or following.startswith(" " * 8), line
  if "--config" in said:
    assert "item_jax/config.py" in said
