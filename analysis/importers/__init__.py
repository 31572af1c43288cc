"""Results of other load generators as rows of the run table.

Each format has one module that knows its keys, units and definitions. What a tool did not
measure, or measured by another definition than moeserve's, stays empty. What a file says besides
is kept: settings as labels, measurements as `tool_…`.
"""

from analysis.importers.files import import_files
from analysis.importers.labels import Labels, parse_labels

__all__ = ["Labels", "import_files", "parse_labels"]
