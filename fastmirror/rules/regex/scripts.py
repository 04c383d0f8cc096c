"""Unicode's scripts, which Python has no table of: the names of characters say nearly all.

Invariant: a character is of the script that its name begins with, but for the exceptions below;
what has none is Inherited if it is a mark, and Common if not. The table is made when a pattern
first names a script.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import defaultdict
from functools import cache

from fastmirror.rules.regex.classes import merged
from fastmirror.rules.regex.syntax import Ranges

_NAMES = """
Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali
Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian
Chakma Cham Cherokee Chorasmian Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari
Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic
Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran
Hebrew Hiragana Imperial_Aramaic Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi
Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin
Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean
Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs
Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko
Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic
Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong
Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra
Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri
Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai
Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square
"""

# How names begin that do not begin with the name of their script.
_STARTS = {
    "Anatolian_Hieroglyphs": "ANATOLIAN HIEROGLYPH",
    "Canadian_Aboriginal": "CANADIAN SYLLABICS",
    "Cyrillic": "COMBINING CYRILLIC|MODIFIER LETTER CYRILLIC",
    "Devanagari": "COMBINING DEVANAGARI",
    "Egyptian_Hieroglyphs": "EGYPTIAN HIEROGLYPH",
    "Glagolitic": "COMBINING GLAGOLITIC",
    "Grantha": "COMBINING GRANTHA",
    "Han": "CJK UNIFIED IDEOGRAPH|CJK COMPATIBILITY IDEOGRAPH|CJK RADICAL|KANGXI RADICAL"
    "|HANGZHOU NUMERAL",
    "Hangul": "PARENTHESIZED HANGUL|CIRCLED HANGUL|HALFWIDTH HANGUL",
    "Hiragana": "HENTAIGANA",
    "Katakana": "HALFWIDTH KATAKANA LETTER|CIRCLED KATAKANA",
    "Latin": "FULLWIDTH LATIN",
    "Meroitic_Hieroglyphs": "MEROITIC HIEROGLYPHIC",
    "Old_Permic": "COMBINING OLD PERMIC",
}

# Code points that are of another script than their names say; under "": of none.
_EXCEPTIONS = {
    "": "374 37E 385 387 485-486 605 60C 61B 61F 640 64B-655 670 6DD 8E2 951-954 964-965 E3F "
    "10FB 16EB-16ED 1802-1803 1805 271D 309B-309C 30A0 30FB-30FC A92E A9CF 102E0-102FB",
    "Arabic": "60B 6F0-6F9 FDFC 10E60-10E7E",
    "Armenian": "58D-58E",
    "Avestan": "10B3A-10B3F",
    "Bopomofo": "2EA-2EB",
    "Cyrillic": "A673",
    "Georgian": "10FC",
    "Greek": "1D5D-1D61 1DBF 2126 1018E 1D242-1D244",
    "Han": "3005 3007 303B 16FE2-16FE3 16FF0-16FF1",
    "Hangul": "321D-321E 327C-327D",
    "Hiragana": "1F200",
    "Katakana": "3300-3357",
    "Latin": "AA BA 2B0-2B8 2E0-2E4 1D2C-1D5C 1D9B-1DBE 2071 207F 212A-212B 2132 214E 2160-2183 "
    "2185-2188 2C7D A770 A7F2-A7F4 A7F8-A7F9 AB5C-AB5F AB69 10780-10785 10787-107B0 "
    "107B2-107BA",
    "Tangut": "17000-187F7 18D00-18D08",
    "Inherited": "200C-200D",
}


@cache
def _scripts() -> dict[str, Ranges]:
    starts = {name.upper().replace("_", " ") + " ": name for name in _NAMES.split()}
    for name, more in _STARTS.items():
        starts.update((f"{start} ", name) for start in more.split("|"))
    exceptions = {
        point: name
        for name, text in _EXCEPTIONS.items()
        for each in text.split()
        for point in _points(*each.split("-"))
    }
    keys = sorted(starts)
    found = defaultdict(list)
    for point in (*range(0x40000), *range(0xE0000, 0xE1000)):
        char = chr(point)
        category = unicodedata.category(char)
        if category in ("Cn", "Co", "Cs"):
            continue
        script = exceptions.get(point)
        if script is None:
            text = unicodedata.name(char, "").replace("-", " ") + " "
            key = keys[bisect_right(keys, text) - 1]
            script = starts[key] if text.startswith(key) else ""
        found[script or ("Inherited" if category in ("Mn", "Me") else "Common")].append(point)
    return {name: merged((point, point) for point in points) for name, points in found.items()}


def _points(first: str, last: str = "") -> range:
    return range(int(first, 16), int(last or first, 16) + 1)


def script(name: str) -> Ranges | None:
    """The code points of a script (``Greek``); None where there is none of that name."""
    if name not in _NAMES.split() and name not in ("Common", "Inherited"):
        return None
    return _scripts().get(name, ())
