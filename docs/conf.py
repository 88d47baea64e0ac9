"""Settings of the documentation. Nothing here reaches for the network."""

from __future__ import annotations

import os
import sys

import gammagrad

sys.path.insert(0, os.path.dirname(__file__))
from outside import ALIASES

project = "gammagrad"
author = "The gammagrad developers"
project_copyright = author
version = release = gammagrad.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]

# each script of docs/figures draws one figure of a page; `.. plot::` runs it
plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = False

html_theme = "furo"
html_title = f"gammagrad {version}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_js_files = ["pages.js"]

# the prompts of a console are not copied
copybutton_prompt_text = ">>> "

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# in docstrings `this` is a name of Python: a link where there is one to link to
default_role = "py:obj"
add_module_names = False
# the parts that need gammapy are described without it
autodoc_mock_imports = ["gammapy"]
autodoc_member_order = "groupwise"
# what a class has from Python's own bases needs no words here
BASES = "Mapping, Sequence, MutableSequence, tuple, ABC"
autodoc_default_options = {"members": True, "inherited-members": BASES}
maximum_signature_line_length = 88
python_use_unqualified_type_names = True

numpydoc_show_class_members = False
# types of arguments are links, to other projects too
numpydoc_xref_param_type = True
numpydoc_xref_aliases = ALIASES
numpydoc_xref_ignore = {
    "None",
    "optional",
    "or",
    "of",
    "shape",
    "sequence",
    "iterable",
    "default",
    "them",
}
# what has no docstring, or describes an argument that is not there, fails the build;
# tests/test_public_api.py sees to the arguments that are not described
numpydoc_validation_checks = {"GL08", "PR02"}
numpydoc_validation_exclude = {r"\.__init__$"}
# what an architecture, a table of codes or of quantities says is read from the code itself;
# some pages run; links to other projects need no network
extensions += ["tables", "executed", "outside"]
intersphinx_mapping: dict[str, tuple[str, str]] = {}
