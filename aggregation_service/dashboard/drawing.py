"""pygal, without the import hook that it leaves behind.

The hook finds plug-ins for maps in the way of Python 3.3 (`find_module`), of which each later import of anything at all
would warn.
"""

import sys

from pygal import Bar, Line, PluginImportFixer, StackedBar  # type: ignore[import-untyped]
from pygal.etree import etree  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

__all__ = ["Bar", "Line", "StackedBar", "Style", "etree"]

sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, PluginImportFixer)]
