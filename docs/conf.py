"""Sphinx: `make docs` builds these pages and the docstrings that they name."""

project = "Ganealogy"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["results", "compose.yaml"]
html_theme = "furo"
html_title = "Ganealogy"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
default_role = "code"  # docstrings write `name`
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": True}
