"""Settings of the documentation, for sphinx."""

import importlib.util

import ndsampler

project = "ndsampler"
author = "The ndsampler developers"
copyright = author
release = version = ndsampler.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

# The button copies what is typed: neither prompts nor the output of examples.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = f"ndsampler {release}"

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
# Without torch, the classes that derive from its own are documented all the same.
autodoc_mock_imports = [] if importlib.util.find_spec("torch") else ["torch"]

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
