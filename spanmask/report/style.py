"""The one style sheet of HTML pages: light and dark, narrow and wide, screen and paper. Colours are variables, for charts too.

Contrast of every text colour against the surfaces it stands on is at least 4.5 in both schemes (WCAG 2.1 AA); tests compute it.
"""

from __future__ import annotations

#: Colours by name: on light, on dark.
COLOURS = {
    "page": ("#f7f7f5", "#14171b"),
    "surface": ("#ffffff", "#1d2127"),
    "ink": ("#1c2127", "#e7eaee"),
    "muted": ("#565f6a", "#a9b2bd"),
    "line": ("#d8dce1", "#363c45"),
    "masked": ("#5b32a8", "#cbb4ff"),
    "masked-tint": ("#ece5fb", "#33274f"),
    "random": ("#8f3d00", "#ffb77d"),
    "random-tint": ("#fdeadb", "#472c16"),
    "kept": ("#176336", "#8bdba6"),
    "kept-tint": ("#def3e5", "#173923"),
    "boundary": ("#0b5f86", "#7cc8ee"),
    "good": ("#176336", "#8bdba6"),
    "bad": ("#a3160f", "#ff9d94"),
    "bad-tint": ("#fde6e4", "#4b1d1a"),
    "series-1": ("#2f6db5", "#6aa9ee"),
    "series-2": ("#8094ab", "#7b8ca1"),
    "series-law": ("#b3360a", "#ffa061"),
    "curve-1": ("#2f6db5", "#6aa9ee"),
    "curve-2": ("#b3360a", "#ffa061"),
    "curve-3": ("#1a7f4b", "#5cc98d"),
    "curve-4": ("#7a3fb0", "#c59bf0"),
    "curve-5": ("#8a6100", "#e0b84a"),
    "curve-6": ("#0b7285", "#56c4d6"),
    "band": ("#dfe7f1", "#2b3441"),
}

_RULES = """
:root {
  --sans: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 var(--sans); }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2rem) 3rem; }
h1 { font-size: clamp(1.45rem, 4vw, 2rem); line-height: 1.2; margin: 0 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; line-height: 1.35; margin: 0 0 .35rem; color: var(--ink); }
p { margin: .4rem 0; max-width: 46rem; }
.lead { font-size: 1.1rem; }
.muted, figcaption, caption, footer { color: var(--muted); }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: .875rem; overflow-wrap: anywhere; }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: .6rem; padding: clamp(.75rem, 2.5vw, 1.25rem); }
.verdict { margin: .75rem 0; border-left: .4rem solid var(--good); font-size: 1.1rem; }
.verdict.failed { border-left-color: var(--bad); }
.verdict p { margin: 0; max-width: none; }
.grid { display: grid; gap: 1rem; margin: .75rem 0 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
.scroll { overflow-x: auto; margin-top: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
caption { text-align: left; font-size: .875rem; padding: 0 0 .4rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--muted); font-weight: 600; font-size: .8125rem; overflow-wrap: normal; }
tbody th { font-weight: 600; overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; white-space: nowrap; }
.passed { color: var(--good); font-weight: 600; white-space: nowrap; }
.failed-mark { color: var(--bad); font-weight: 700; white-space: nowrap; }
code { font: .9em var(--mono); overflow-wrap: anywhere; }
figure { margin: 0; display: flex; flex-direction: column; }
figure svg { display: block; width: 100%; max-width: 30rem; height: auto; margin: .25rem 0; }
figcaption { font-size: .9rem; margin-bottom: .35rem; }
details { margin-top: .5rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--muted); width: fit-content; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; margin: 0; padding: 0; font-size: .8125rem; }
.key svg { display: inline-block; width: 1.25rem; height: .75rem; margin: 0 .35rem 0 0; vertical-align: -.05rem; }
svg text { font: 12px var(--sans); fill: var(--muted); }
svg .grid-line { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .fill-1 { fill: var(--series-1); } svg .fill-2 { fill: var(--series-2); } svg .fill-band { fill: var(--band); }
svg .line-1, svg .line-2, svg .line-law { fill: none; stroke-width: 2; stroke: var(--series-1); stroke-linejoin: round; }
svg [class^="curve-"] { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .curve-1 { stroke: var(--curve-1); } svg .curve-2 { stroke: var(--curve-2); stroke-dasharray: 6 4; }
svg .curve-3 { stroke: var(--curve-3); stroke-dasharray: 2 3; } svg .curve-4 { stroke: var(--curve-4); stroke-dasharray: 10 3 2 3; }
svg .curve-5 { stroke: var(--curve-5); stroke-dasharray: 14 5; } svg .curve-6 { stroke: var(--curve-6); stroke-dasharray: 4 2; }
svg .dot-1 { fill: var(--curve-1); } svg .dot-2 { fill: var(--curve-2); } svg .dot-3 { fill: var(--curve-3); }
svg .dot-4 { fill: var(--curve-4); } svg .dot-5 { fill: var(--curve-5); } svg .dot-6 { fill: var(--curve-6); }
svg .line-law { stroke: var(--series-law); } svg .line-2 { stroke: var(--muted); stroke-dasharray: 5 4; stroke-width: 1.5; }
@media (max-width: 40rem) {
  .prose thead { display: none; }
  .prose tr { display: block; border-top: 1px solid var(--line); padding: .5rem 0; }
  .prose tbody th, .prose td { display: block; border: 0; padding: .05rem 0; }
  .prose tr:first-child { border-top: 0; }
  .prose [data-label]::before { content: attr(data-label) ": "; color: var(--muted); }
}
@media print {
  body { background: none; font-size: 11pt; }
  main { max-width: none; padding: 0; }
  .card, figure, tr { break-inside: avoid; }
  summary { display: none; }
}
"""


def style_sheet(extra: str = "") -> str:
    """Return the style sheet, with rules of one page's own at its end."""
    light, dark = (" ".join(f"--{name}: {pair[k]};" for name, pair in COLOURS.items()) for k in (0, 1))
    return f":root {{{light}}}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark}}} }}\n{_RULES}{extra}"
