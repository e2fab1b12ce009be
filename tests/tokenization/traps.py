"""Texts that a way to tokenize may get wrong, by what goes wrong in them."""

from __future__ import annotations

from itertools import product


def _parts(*texts: str) -> list[str]:
    """Texts that are written with a bar between them."""
    return "|".join(texts).split("|")


_GAPS = _parts("| |  |   |\n| \n|\n |\n\n  |\t|\r\n| \r\n |\xa0| \xa0|\u3000|\u2028 |\x85|\x1c")
_ADDED = ["|||IP_ADDRESS|||", *_parts("<a>|<b>|<a><b>|<c d>|raven|ravenous|the|é|fi|漢|'s|²|▁of")]
_ENDINGS = _parts("s|S|t|T|re|RE|Re|rE|ve|VE|m|M|ll|LL|lL|d|D|x|r|v|l|")

TRAPS: dict[str, list[str]] = {
    "white space at ends and between words": [f"{gap}a{gap}b{gap}{gap}1{gap}.{gap}" for gap in _GAPS],
    "white space before an added token is at an end": [f"a{gap}{name}{gap}b" for gap, name in product(_GAPS, _ADDED)],
    "added tokens beside each other": ["".join(pair) + " a" for pair in product(_ADDED, _ADDED)],
    "added tokens within words": [f"{left}{name}{right}" for name in _ADDED for left in "a1_.é" for right in "b2_,é"],
    "added tokens alone or cut short": [
        text for name in _ADDED for text in (name, name[:-1], name[1:], name.upper(), name + name)
    ],
    "contractions of every case": [
        word + mark + ending + behind
        for word, mark, ending, behind in product(["it", "IT", "", " ", "1"], "'’", _ENDINGS, ["", "s", " a"])
    ],
    "the long s and the Kelvin sign in contractions": _parts(
        "it'ſ|IT'ſ|'ſ| 'ſa|'ſ 'ſ|x'\u212a|'ſſ|don'ſt|'\u017f\u0301"
    ),
    "numbers that are not 0 to 9": _parts("x²|1²3|²³¹|ⅧⅨ|a½b|1½|٣٤٥٦٧|१२३४|①②|𝟘𝟙𝟚𝟛|1٣²Ⅷ|㊿|五六|൰"),
    "digits in every number": [
        f"{left}{'1234567890' * 4}"[:size] for left in ("", "a", " ", "-") for size in range(24)
    ],
    "characters that become spaces": _parts("ﷺ|a ﷺ b|´|a´b| ´|´ |¨a|a\u037ab|\u203e|\u2017 a|\u1fbd|\u02dc\u02dd"),
    "characters that become nothing": _parts(
        "\u200b|a\u200bb| \u200b |\u200b\u200b|\ufeffa|\x00|\x01a|a\x7f|\xad|\u200e a"
    ),
    "carriage return and newline": _parts("\r\n|a\r\nb|\r\n\r\n|\r|\n\r|\r\r\n\n| \r\n|\r\n |a \r\n b|\r\n\u0301"),
    "marks behind spaces and others": _parts(
        " \u0301|a \u0301b|\n\u0301|\u0301|\u0301a|'\u0301s|1\u0301|  \u0301\u0323|.\u0301"
    ),
    "marks that combine": _parts(
        "e\u0301|é|e\u0323\u0301|e\u0301\u0323|ｶﾞ|ｶ\u3099|か\u3099|\u1100\u1161\u11a8|각|\u1100\u1161|A\u030a|Å"
    ),
    "ligatures and other compatible forms": _parts("ﬁ|office|oﬃce|ＡＢＣ|™|…|㎏|ǆ|ß|ẞ|İ|Σ ς|①|㍿|ﬀi"),
    "a literal ▁": _parts("▁|▁a|a▁b| ▁|▁ |▁▁|a ▁ b|▁of▁the|of ▁the|▁\n▁|.▁|▁é"),
    "a literal Ġ and Ċ": _parts("Ġ|Ġa|aĠb|Ċ| Ġ|ĠĠ|Ġthe|âĢĻ|Â|Ã©"),
    "names of bytes": _parts("<0x0A>|<0xE6><0xBC>|a<0x20>b|<0x|<0xzz>|<0x0a>"),
    "unknown characters between known ones": _parts(
        "a漢b|漢漢|a漢漢b漢|\U0001f980|x\U0001f980y\U0001f980|\U000f0000|\ue000a|ᚠᛇᚻ|a\u0378b"
    ),
    "emoji in sequences": _parts("👩‍🚀|🇩🇪|🇩🇪🇫|❤️|👍🏽|1️⃣|🏴\U000e0067\U000e0062\U000e007f|👩‍👩‍👧‍👦!|a👍b|☺ ☺️"),
    "punctuation beside everything": _parts(
        '...|. . .|a.b|--a--|(a)|a/b/c|"a"| ,|?!\n|!\n\n!|.\r\n|/\n/|x=1;//y|$5.00%', "|a||b"
    ),
    "scripts and cases": _parts(
        "ΟΔΟΣ|Ελλ. α|русскийText|camelCaseWord|HTTPServer|ABCdef|aBC|ǅungla|ʰa|ªº|日本Text語|नि न|ไทย|한국A"
    ),
    "words as long as tables and longer": [
        "x" * size for size in (1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 3_000)
    ],
    "long words of more bytes": [char * size for char in "é漢😀" for size in (7, 8, 10, 11, 16, 31, 32, 33, 300)],
    "long runs": [
        char * size
        for char in " \n\t.1▁\xa0"
        for size in (*range(1, 12), 16, 17, 23, 24, 25, 31, 32, 33, 48, 100, 1_000)
    ],
    "controls and the ends of planes": _parts("a\0b|\0|\x1b[0m|\x7f|\x80|\ufffd|\uffff|\U0010ffff|\ufdd0 a|\U0001fffe"),
    "no text at all": ["", "", "a", ""],
}
