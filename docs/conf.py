"""Settings of the documentation, which `bash launch/docs.sh` builds."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import item_jax  # noqa: E402

project = author = "item-jax"
release = version = item_jax.__version__
html_title = project
html_show_copyright = False

extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.mathjax",
  "sphinx.ext.napoleon",
  "sphinx_copybutton",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
# A page that is quick asks for it by mystnb.execution_mode.
nb_execution_mode = "off"
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # bars, and the log

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2}
html_copy_source = False


def plain_text(app, what, name, obj, options, lines: list[str]) -> None:
  """Lets docstrings be plain text, with `code`, fields and sections in it.

  A section is Args:, Returns: or the like, with indented lines. Elsewhere
  "name: what it is" begins a field, whose next lines may be indented, and
  indented lines after an empty one are code.
  """
  made, section, field, code = [], False, False, False
  for line in lines:
    text, indent = line.strip(), len(line) - len(line.lstrip())
    begins = not indent and bool(re.match(r"[a-z]\w*(, \w+)*: ", text))
    if not indent and text:
      section, code = bool(re.fullmatch(r"[A-Z]\w+:", text)), False
    field = bool(text) and (field or (begins and made[-1:] == [""]))
    if indent and not (section or code) and made[-1:] == [""]:
      made += ["::", ""]
      code = True
    if code:
      made.append(line)
    elif field:
      made += ["", "- " + escape(text)] if begins else ["  " + escape(text)]
    else:
      made.append(line[:indent] * section + escape(text))
  lines[:] = made


def escape(text: str) -> str:
  """Writes as reStructuredText what has no meaning but `code`."""
  parts = re.split(r"(`[^`]+`)", text)
  parts[::2] = [re.sub(r"([\\*|]|_(?!\w))", r"\\\1", p) for p in parts[::2]]
  # Code ends before a blank; an escaped one is not shown.
  parts[1::2] = [rf"`{part}`\ " for part in parts[1::2]]
  return "".join(parts)


class Public(SphinxDirective):
  """Documents `module.name`s from their docstrings; passes over absent ones."""

  has_content = True

  def run(self):
    lines = []
    for dotted in self.content:
      module, _, name = dotted.rpartition(".")
      found = getattr(importlib.import_module(module), name, None)
      if found is None:
        continue
      if isinstance(found, ModuleType):
        lines += [f".. automodule:: {found.__name__}", "   :members:", ""]
      elif isinstance(found, type):
        lines += [f".. autoclass:: {dotted}", "   :members:", ""]
      else:
        lines += [f".. autofunction:: {dotted}", ""]
    return self.parse_text_to_nodes("\n".join(lines))


def setup(app) -> None:
  app.add_directive("public", Public)
  app.connect("autodoc-process-docstring", plain_text, priority=1)
