"""The schemes and samplers of masking, as options of `PreshardConfig`."""

from __future__ import annotations

from typing import Any

SCHEMES: dict[str, dict[str, Any]] = {
    "paper": {},
    "reference": {"sampler": "reference"},
    "word": {"scheme": "word"},
    "token": {"scheme": "token"},
    "annotated": {"scheme": "annotated", "spans_field": "spans"},
}
