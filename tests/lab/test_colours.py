"""Colours measured: contrast on light and dark, and what the colour-blind see.

Contrast is that of WCAG 2.2 (1.4.3, 1.4.11). Colour blindness is simulated by the
matrices of Machado, Oliveira, Fernandes (2009), "A physiologically-based model for
simulation of color vision deficiency", severity 1; distances are CIEDE2000 (Sharma, Wu,
Dalal 2005), in which 2.3 is about the least that an eye can tell.
"""

from itertools import combinations
from pathlib import Path
import re

import lmxlab.lab
from lmxlab.lab.chart import DASHES
from lmxlab.lab.plot import COLOURS, TEXT
import numpy as np
import pytest

BACKGROUNDS = ("#ffffff", "#111111")  # a cell's output in JupyterLab's two themes
VISION = {
    "all cones": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip
TO_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
APART = 12.0  # colours alone tell two lines apart
STYLED = re.compile(r"#[0-9a-fA-F]{6}\b")


def linear(colour):
    """Light of the three primaries, shape (3,), from #rrggbb."""
    s = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    light = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def lab(light):
    """CIE L*a*b* of linear light under D65."""
    xyz = TO_XYZ @ light / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one, other):
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    more = 1.5 - 0.5 * np.sqrt(mean**7 / (mean**7 + 25**7))
    c1, c2 = np.hypot(more * a1, b1), np.hypot(more * a2, b2)
    h1, h2 = (
        np.degrees(np.arctan2(b, more * a)) % 360 for a, b in ((a1, b1), (a2, b2))
    )
    turn = (h2 - h1 + 180) % 360 - 180
    dl, dc = l2 - l1, c2 - c1
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    lm, cm, hm = (l1 + l2) / 2, (c1 + c2) / 2, (h1 + turn / 2) % 360
    t = (
        1 - 0.17 * np.cos(np.radians(hm - 30)) + 0.24 * np.cos(np.radians(2 * hm))
        + 0.32 * np.cos(np.radians(3 * hm + 6)) - 0.2 * np.cos(np.radians(4 * hm - 63))
    )  # fmt: skip
    sl = 1 + 0.015 * (lm - 50) ** 2 / np.sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    turned = np.sin(np.radians(60 * np.exp(-(((hm - 275) / 25) ** 2))))
    rt = -2 * np.sqrt(cm**7 / (cm**7 + 25**7)) * turned
    parts = dl / sl, dc / sc, dh / sh
    return float(np.sqrt(sum(p**2 for p in parts) + rt * parts[1] * parts[2]))


def distance(one, other, vision):
    seen = [np.clip(VISION[vision] @ linear(colour), 0, 1) for colour in (one, other)]
    return ciede2000(*map(lab, seen))


# ----------------------------------------------------------------- that it measures


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000000", "#ffffff", 21),
        ("#777777", "#ffffff", 4.48),
        ("#fff111", "#fff111", 1),
    ],
)
def test_contrast_is_what_wcag_says(one, other, ratio):
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [  # from the data of Sharma, Wu, Dalal (2005), table 1
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ],
)
def test_distance_is_ciede2000(one, other, apart):
    assert ciede2000(one, other) == pytest.approx(apart, abs=1e-4)


def test_who_lacks_a_cone_mixes_up_what_is_known_to_be_mixed_up():
    red, green = "#b04a3a", "#6b7a1e"
    assert distance(red, green, "all cones") > 3 * distance(red, green, "deuteranopia")
    greys = [distance("#808080", "#8c8c8c", vision) for vision in VISION]
    assert max(greys) - min(greys) < 0.5  # and grey stays grey


# ------------------------------------------------------------------------- contrast


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_lines_and_signs_stand_out_in_both_themes(colour, background):
    assert contrast(colour, background) >= 3.0


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_text_of_plots_is_as_readable_as_one_colour_can_be(background):
    best = np.sqrt(contrast(*BACKGROUNDS))  # as far from the one as from the other
    assert best == pytest.approx(4.346, abs=1e-3)
    assert contrast(TEXT, background) >= best - 0.06


def test_html_text_has_the_colours_of_the_theme():
    """Only signs, borders and curves have colours of ours; words inherit theirs."""
    allowed = {*COLOURS, TEXT, "#1976d2"}  # the last: the focus ring, without a theme
    for path in Path(lmxlab.lab.__file__).parent.glob("*.py"):
        found = set(STYLED.findall(path.read_text()))
        assert found <= allowed, path.name
    for background in BACKGROUNDS:
        assert contrast("#1976d2", background) >= 3.0


# -------------------------------------------------------------------- colour blindness


@pytest.mark.parametrize("vision", VISION)
def test_the_first_four_colours_are_told_apart(vision):
    pairs = combinations(COLOURS[:4], 2)
    assert min(distance(*pair, vision) for pair in pairs) > APART


@pytest.mark.parametrize("vision", VISION)
def test_where_colour_fails_dashes_differ(vision):
    numbered = [(colour, DASHES[i % len(DASHES)]) for i, colour in enumerate(COLOURS)]
    for (one, dash), (other, dashed) in combinations(numbered, 2):
        assert dash != dashed or distance(one, other, vision) > APART
