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

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2}
html_copy_source = False


def plain_text(app, what, name, obj, options, lines: list[str]) -> None:
  """Lets docstrings be plain text: only `code` has a meaning in them."""
  for number, line in enumerate(lines):
    parts = re.split(r"(`[^`]+`)", line)
    parts[::2] = [re.sub(r"([\\*|]|_(?!\w))", r"\\\1", p) for p in parts[::2]]
    parts[1::2] = [f"`{part}`" for part in parts[1::2]]
    lines[number] = "".join(parts)


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
