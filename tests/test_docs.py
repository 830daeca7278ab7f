"""What the README and the docs name exists: links, commands, flags, options,
tests; and the README's Python runs."""

import argparse
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import pictures
import pytest
import tiny_run

import item_jax
from item_jax import config_flags
from item_jax.__main__ import COMMANDS, _make_parser
from item_jax.config import FREE_ON_RESUME, RENAMED, Config, flatten

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
API = DOCS / "api.rst"
PAGES = sorted(
  {
    *ROOT.glob("*.md"),
    *(p for p in DOCS.rglob("*.md") if "_build" not in p.parts),
    ROOT / "findings" / "README.md",
  }
)
# Flags of pytest, Slurm, Google Cloud, TensorBoard, Beam and its runners,
# img2dataset, XLA and launch/quickstart.sh; --name stands for any.
FOREIGN = re.compile(
  r"--(name|slow|cpus-per-task|xla_\w+|catalogue"
  r"|(setup_file|project|region|sdk_container_image|environment_\w+)"
  r"|(\w+_master(_url)?|parallelism|temp_location|max_num_workers|direct_\w+)"
  r"|(flink_job_server_jar|output_\w+|resize_mode|skip_reencode))$"
)
GROUPS = "data|model|resnet|clip|mask|loss|align|products|optim|mesh|checkpoint"


def name(path: Path) -> str:
  return path.relative_to(ROOT).as_posix()


pages = pytest.mark.parametrize("page", PAGES, ids=name)


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
  (action,) = (
    action
    for action in _make_parser()._actions
    if isinstance(action, argparse._SubParsersAction)
  )
  return dict(action.choices)


@cache
def flags(command: str) -> frozenset[str]:
  return frozenset(parsers()[command]._option_string_actions)


def blocks(text: str) -> list[list[str]]:
  """The lines of each block of code, indented or fenced, in any language."""
  fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
  rest = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
  indented = re.findall(r"(?:^ {4}.*\n?)+", rest, re.MULTILINE)
  return [
    block.replace("\\\n", " ").splitlines() for block in fenced + indented
  ]


def prose(text: str) -> str:
  """The text without its blocks of code."""
  text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
  return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def inline(text: str) -> list[str]:
  return re.findall(r"`([^`]+)`", prose(text))


def commands(text: str) -> list[list[str]]:
  """The words of every `item-jax` command of a page's blocks of code."""
  found = []
  for block in blocks(text):
    quoted = r'"[^"]*"'
    text = re.sub(quoted, lambda q: q[0].replace("\n", " "), "\n".join(block))
    for line in text.splitlines():
      command = re.search(r"(?<![\w/`-])item-jax (?=[a-z])(.*?)(;|$)", line)
      if command and not line.lstrip().startswith(("#", "COPY", "RUN")):
        words = shlex.split(command[1], comments=True)
        # A loop's variable is one of the modalities.
        found.append([word.replace("$side", "both") for word in words])
  return found


def check_flags(words: list[str]) -> None:
  """Every flag is the command's, an option of the config, or Beam's."""
  command, *rest = words
  assert command in COMMANDS, words
  beam = command == "prepare" and any(w.startswith("--runner") for w in rest)
  for word in rest:
    flag = word.partition("=")[0]
    if flag.startswith("--config."):
      assert flag.removeprefix("--config.") in flatten(Config()), words
    elif flag.startswith("--"):
      assert flag in flags(command) or (beam and FOREIGN.match(flag)), words


def test_the_readme_is_an_introduction():
  assert README.stat().st_size <= 9_000


def anchors(path: Path) -> set[str]:
  """The names of a page's headings, as links spell them."""
  found = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
  return {
    re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in found
  }


@pages
def test_a_link_leads_somewhere(page):
  text = prose(page.read_text("utf-8"))
  for target in re.findall(r"\]\(([^)\s]+)\)", text):
    if re.match(r"https?://", target):
      continue
    path, _, anchor = target.partition("#")
    leads = page.parent / path if path else page
    assert leads.exists(), f"{name(page)}: {target}"
    if page.suffix == leads.suffix and DOCS in page.parents:
      # Sphinx knows the pages of its folder alone.
      assert DOCS in leads.resolve().parents, f"{name(page)}: {target}"
    if anchor:
      assert anchor in anchors(leads), f"{name(page)}: {target}"


# The pages on extending show flags of packages of their own; their tests run
# what they show.
@pages
def test_a_command_can_be_given_as_it_is_shown(page):
  if page.name.startswith("extending"):
    return
  for words in commands(page.read_text("utf-8")):
    check_flags(words)
    if "..." not in words:
      # An error in them is a SystemExit here.
      parsers()[words[0]].parse_known_args(words[1:])


@pages
def test_flags_and_options_in_the_text_exist(page):
  if page.name.startswith(("extending", "CHANGELOG")):
    return
  every = {flag for command in COMMANDS for flag in flags(command)}
  options = flatten(Config())
  for code in inline(page.read_text("utf-8")):
    if code.startswith("item-jax "):
      check_flags([w for w in code.split()[1:] if w != "..."])
    for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*", code):
      flag = flag.rstrip(".")
      if flag == "--config":
        continue
      if flag.startswith("--config."):
        assert flag.removeprefix("--config.") in options, code
      else:
        assert flag in every or FOREIGN.match(flag), f"{name(page)}: {code}"
    option = re.fullmatch(rf"(?:config\.)?((?:{GROUPS})\.\w+)(=.*)?", code)
    # A trained model's attributes and a table have the same look.
    other = r"model\.(embed|predict|categories)|products\.csv"
    if option and not re.match(other, code):
      assert option[1] in options, f"{name(page)}: {code}"


def test_the_api_page_names_everything_public():
  named = set(
    re.findall(r"^   (item_jax\.\w+)$", API.read_text(), re.MULTILINE)
  )
  public = {f"item_jax.{name}" for name in item_jax.__all__}
  assert named >= public


def test_the_changelog_names_every_renamed_option():
  text = (ROOT / "CHANGELOG.md").read_text("utf-8")
  rows = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", text, re.MULTILINE)
  assert dict(rows).items() >= RENAMED.items()


def test_the_docs_name_what_may_change_when_a_run_goes_on():
  text = (DOCS / "training.md").read_text()
  text = text.partition("What may change on the way:")[2].partition("All else")
  named, group = set(), ""
  for option in inline(text[0]):
    if not option.startswith("."):
      group = option.partition(".")[0]
    named.add(f"{group}{option}" if option.startswith(".") else option)
  assert named == FREE_ON_RESUME


@pages
def test_a_script_that_is_named_is_there(page):
  for path in re.findall(
    r"(?<![\w/.-])(?:launch|docs|configs|tests|findings)/[\w/]+\.\w+",
    page.read_text("utf-8"),
  ):
    # Pages on extending may come with a change of their own.
    if "NAME" not in path and "docs/extending" not in path:
      assert (ROOT / path).exists(), f"{name(page)}: {path}"


def test_every_promise_names_tests_that_are_there():
  """In a row of the table: files, and parts of the names of their tests."""
  text = (DOCS / "reliability.md").read_text("utf-8")
  table = re.findall(r"^\| .* \| (.*) \|$", text, re.MULTILINE)[2:]
  assert len(table) > 10
  everything = "\n".join(p.read_text() for p in (ROOT / "tests").glob("*.py"))
  for row in table:
    named = re.findall(r"\btest_\w+", row)
    parts = [part.strip("_.") for part in re.findall(r"`([^`]+)`", row)]
    assert named or parts, row
    for file in named:
      assert (ROOT / "tests" / f"{file}.py").exists(), file
    for part in parts:
      assert re.search(rf"def test_\w*{part}", everything), part


def test_the_readmes_python_runs(tiny_data, tmp_path, monkeypatch):
  """As it stands, with a config that trains in seconds under its name."""
  catalogue = tiny_data.parent / "catalogue"
  (tmp_path / "configs").mkdir()
  config = Path(tiny_run.__file__).read_text().replace('"short"', '"tiny"')
  (tmp_path / "configs" / "item_align.py").write_text(config)
  shutil.copy(catalogue / "products.csv", tmp_path)
  (tmp_path / "photos").symlink_to(catalogue)
  shutil.copy(next((catalogue / "images").glob("*.jpg")), tmp_path / "mug.jpg")
  monkeypatch.setattr(config_flags, "CONFIGS", tmp_path / "configs")
  monkeypatch.chdir(tmp_path)
  (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
  names: dict = {}
  exec(compile(code, "README.md", "exec"), names)
  assert names["vectors"].shape[0] == 2


def test_rows_are_prepared_as_the_page_on_data_shows(tmp_path, monkeypatch):
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos" / "mug.jpg").write_bytes(pictures.png(pictures.COLOURED))
  monkeypatch.chdir(tmp_path)
  text = (DOCS / "data" / "index.md").read_text("utf-8")
  (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  names: dict = {}
  exec(compile(code, "index.md", "exec"), names)
  assert names["dataset"].sizes == {"train": 2}
