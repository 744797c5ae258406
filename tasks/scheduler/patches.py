"""What is changed in Luigi's own pages as they are served, so that they tell people on call at a glance.

A task that has failed for good is DISABLED, which Luigi draws grey; a box has its family's name and not its
table's; the list begins with what is oldest; and the pages ask other hosts for fonts and charts. The texts
are those of the pinned version (tests/tasks/scheduler/test_patches.py).
"""

from collections.abc import Mapping
from pathlib import Path

import luigi.server
from tornado.template import Loader, Template
from tornado.web import RequestHandler

STATIC = Path(luigi.server.__file__).parent / "static" / "visualiser"
TEMPLATES = Path(luigi.server.__file__).parent / "templates"
TYPES = {".js": "text/javascript", ".css": "text/css"}

# What a task is about stands in its parameters, which are identity only.
_ABOUT = """
    function about(task) {
        var p = task.params || {};
        var thing = p.source ? p.source + (p.table ? "." + p.table : "") : p.database || p.mart || "";
        return task.name.split(".").pop() + (thing ? " " + thing : "");
    }
"""
_RANKS = """
    var ranks = {
        FAILED: 0, DISABLED: 1, UPSTREAM_FAILED: 2, UPSTREAM_DISABLED: 3,
        RUNNING: 4, BATCH_RUNNING: 4, PENDING: 5
    };
"""
_NEWEST = "[4, 'desc']"

# By file: what stands there once, and what is served instead.
PATCHES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "js/graph.js": (
        ("Graph = (function() {", f"Graph = (function() {{{_ABOUT}"),
        ('"DISABLED":"#808080"', '"DISABLED":"#AA0000"'),
        # Beside the circle, and not over it.
        (
            '.text(escapeHtml(node.name))\n                    .attr("y", 3)',
            '.text(about(node)).attr("x", 12).attr("y", 3)',
        ),
    ),
    "js/visualiserApp.js": (
        ("    var VISTYPE_DEFAULT = ", f"{_ABOUT}{_RANKS}    var VISTYPE_DEFAULT = "),
        ('"<span class=name>"+task.name+"</span>"', '"<span class=name>"+escapeHtml(about(task))+"</span>"'),
        # The error of a box is one click away.
        (r"match(/\bFAILED\b/)", r"match(/\b(FAILED|DISABLED)\b/)"),
        ('if (status == "FAILED") {', 'if (status == "FAILED" || status == "DISABLED") {'),
        (
            "'fa-minus-circle';\n                iconColor = 'gray'",
            "'fa-minus-circle';\n                iconColor = 'red'",
        ),
        # Failures first, and of them the newest.
        ("                var order = [];\n", f"                var order = [[0, 'asc'], {_NEWEST}];\n"),
        (
            "                    order = [fragmentQuery.order.split(',')];",
            f"                    order = [fragmentQuery.order.split(','), {_NEWEST}];",
        ),
        (
            "dt.order([fragmentQuery.order.split(',')]);",
            f"dt.order([fragmentQuery.order.split(','), {_NEWEST}]);",
        ),
        (
            "return taskCategoryIcon(data) + ' ' + data;",
            "if (type === 'sort' || type === 'type') { return data in ranks ? ranks[data] : 9; }"
            " return taskCategoryIcon(data) + ' ' + data;",
        ),
        (
            "{data: 'displayTime'},",
            "{data: 'displayTime', render: function (data, type, row) {"
            " return type === 'sort' || type === 'type' ? row.displayTimestamp : data; }},",
        ),
    ),
    "css/luigi.css": (
        (
            ".live.map .DISABLED .status {\n  background-color: #aaaaaa;",
            ".live.map .DISABLED .status {\n  background-color: #aa0000;",
        ),
    ),
    "lib/AdminLTE/css/AdminLTE.min.css": (
        (
            "@import url(https://fonts.googleapis.com/css?family="
            "Source+Sans+Pro:300,400,600,700,300italic,400italic,600italic);",
            "",
        ),
    ),
}
_CHARTS = "https://cdnjs.cloudflare.com/ajax/libs"
# The chart is on a page that is not served.
LAYOUT = (
    (f'    <link href="{_CHARTS}/nvd3/1.7.0/nv.d3.min.css" rel="stylesheet">\n', ""),
    (f'    \t<script src="{_CHARTS}/d3/3.5.5/d3.min.js"></script>\n', ""),
    (f'    \t<script src="{_CHARTS}/nvd3/1.7.0/nv.d3.min.js"></script>\n', ""),
)


def patched(text: str, changes: tuple[tuple[str, str], ...]) -> str:
    """Return the text with the changes made. Raise ValueError if one of them does not fit, exactly once."""
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(f"Luigi's page does not contain exactly once: {old}")
        text = text.replace(old, new)
    return text


class Patched(RequestHandler):
    """A file of Luigi's page, as it is served here."""

    def get(self, name: str) -> None:
        """Write it."""
        file = STATIC / name
        self.set_header("Content-Type", f"{TYPES[file.suffix]}; charset=UTF-8")
        self.write(patched(file.read_text(encoding="utf-8"), PATCHES[name]))


class Icon(RequestHandler):
    """The icon that every browser asks for: there is none, which is not an error."""

    def get(self) -> None:
        """Say so."""
        self.set_status(204)


class Templates(Loader):
    """Luigi's templates of the task history, without what they would have from other hosts."""

    def __init__(self) -> None:
        super().__init__(str(TEMPLATES))

    def _create_template(self, name: str) -> Template:
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        return Template(patched(text, LAYOUT if name == "layout.html" else ()), name=name, loader=self)
