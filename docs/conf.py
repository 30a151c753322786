"""How the documentation is built: Markdown through MyST, the API from the docstrings."""

from importlib import metadata

project = "pipecat-runway"
author = "The pipecat-runway developers"
copyright = f"2026, {author}"
release = metadata.version("pipecat-runway")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "pipecat"]  # the latter is written for Pipecat's own site

# Directives stand between colons, so that ``` is always a snippet: tests/test_readme.py runs them.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autoclass_content = "both"  # the arguments are documented at __init__
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes as a list, not as entries beside the members

html_theme = "furo"
html_title = "pipecat-runway"
