"""The documentation site. `make docs` builds it from the Markdown files of this folder, which can be read without it."""

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
CHECKOUT = DOCS.parent
sys.path[:0] = [str(CHECKOUT / folder) for folder in ("", "kernels", "baselines")]

project = "capsbench"
author = copyright = "The capsbench authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # `name` in docstrings
html_theme = "furo"
html_title = "capsbench"

myst_heading_anchors = 4

# Notebooks are shown with the outputs that they have; tests execute them.
nb_execution_mode = "off"

autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Types of other libraries and of inner modules have no page here. Sites of other libraries are not read at a build.
nitpick_ignore_regex = [(r"py:.*", r"(?!capsbench\.\w+$|capsbench_kernels\.\w+$).*")]

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
"""A link or an image in Markdown that is a path: whether it is an image, the text, the path and the anchor."""


def read_page(app, page, source):
    """Prepares the text of a page: the first one begins with the README, and files beside this folder become downloads."""
    text = source[0]
    if page == "index":
        text = move_links((CHECKOUT / "README.md").read_text(encoding="utf-8")) + text
    source[0] = LINK.sub(lambda link: link_file(link, (DOCS / page).parent), text)


def move_links(text):
    """Returns the README with paths relative to this folder."""

    def move(link):
        path = os.path.relpath(CHECKOUT / link[3], DOCS)
        return f"{link[1]}[{link[2]}]({path}{link[4] or ''})"

    return LINK.sub(move, text)


def link_file(link, folder):
    """Returns a link as it is, or as a download if the file is part of the project but not of this folder."""
    path = (folder / link[3]).resolve()
    if link[1] or path.is_relative_to(DOCS) or not path.is_file():
        return link[0]
    return f"{{download}}`{link[2].replace('`', '')} <{link[3]}>`"


def setup(app):
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}
