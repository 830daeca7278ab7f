"""A terminal shows a bar of long work, and a log a line every ten seconds."""

import io
import re
import sys

import pytest
import tqdm.auto
import tqdm.std
from tqdm.notebook import tqdm_notebook

from item_jax.bars import show_bar
from item_jax.synthetic.synthesize import synthesize


class Clock:
  """Seconds that pass when they are told to."""

  def __init__(self):
    self.now = 1000.0

  def __call__(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(tqdm.std, "time", clock)
  return clock


def work(clock, seconds: int) -> None:
  """64 rows a second, as they are drawn and written one by one."""
  with show_bar(total=64 * seconds, desc="drawing") as bar:
    for _ in range(64 * seconds):
      clock.now += 1 / 64
      bar.update()


def test_a_log_has_a_line_every_ten_seconds(clock, capsys):
  work(clock, 35)
  lines = capsys.readouterr().err.splitlines(keepends=True)
  assert [re.findall(r"(\d+)/2240", x) for x in lines] == [
    *(["640"], ["1280"], ["1920"]),
    ["2240"],  # the end
  ]
  for line in lines:
    assert line.startswith("drawing:")
    assert re.fullmatch(r"[^\r\n\x1b]+\n", line)


def test_short_work_leaves_nothing_in_a_log(clock, capsys):
  work(clock, 9)
  assert list(show_bar(iter("abc"), total=3, leave=False)) == [*"abc"]
  assert capsys.readouterr().err == ""


def test_two_bars_have_lines_of_their_own(clock, capsys):
  with show_bar(total=2, desc="outer") as outer:
    work(clock, 11)
    outer.update()
    clock.now += 10
    outer.update()
  lines = capsys.readouterr().err.splitlines()
  names = [line.partition(":")[0] for line in lines]
  assert names == ["drawing", "drawing", "outer", "outer", "outer"]


def test_what_was_done_before_counts(clock, capsys):
  with show_bar(total=40, initial=30) as bar:
    clock.now += 20
    bar.update(10)
  assert "40/40 [00:20<00:00" in capsys.readouterr().err


class Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


def test_a_terminal_has_one_line_that_is_drawn_again(clock, monkeypatch):
  monkeypatch.setattr(sys, "stderr", Terminal())
  work(clock, 2)
  drawn = sys.stderr.getvalue()
  assert drawn.count("\r") > 10
  assert drawn.count("\n") == 1


def test_a_notebook_has_its_widget(monkeypatch):
  made = []

  class Widget(tqdm_notebook):
    def __init__(self, parts, **options):
      made.append((parts, options))

    def __del__(self):
      pass

  monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
  assert isinstance(show_bar("ab", total=2, delay=5), Widget)
  ((parts, options),) = made
  assert (parts, options["delay"], options["file"]) == ("ab", 5, sys.stderr)


def test_a_catalogue_is_drawn_without_a_word_in_the_log(tmp_path, capfd):
  synthesize(tmp_path / "shop", products=20, image_size=64, workers=1)
  assert capfd.readouterr().err == ""
