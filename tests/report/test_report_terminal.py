"""Rows and audits in the terminal: marks without colour, escaping, widths, encodings."""

from __future__ import annotations

import io
import re
import unicodedata
from typing import Any

import pytest
from report_helpers import drawn
from rich.cells import cell_len
from spanmask.report.audit_table import render_audit
from spanmask.report.marks import ASCII, UNICODE, marks_for
from spanmask.report.terminal import render_row, render_rows
from spanmask.report.view import REPLACEMENTS, Role, RowView

WIDTHS = (40, 80, 160)
