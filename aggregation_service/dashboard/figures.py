"""How numbers, times and names are written for people: always with their unit, times in UTC."""

import math
import re
from datetime import UTC, datetime

_DAY_S = 86_400
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DEVICE_ID = re.compile(r"\b([0-9a-f]{6})[0-9a-f]{26}\b")


def number(value: float | None) -> str:
    """A count or a measure, to three significant digits; None is no number at all.

    >>> number(1234567), number(12.3456), number(0.00123), number(None)
    ('1,234,567', '12.3', '0.00123', '–')
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def epsilon(value: float | None) -> str:
    """A privacy loss; None is what no noise bounds.

    >>> epsilon(1.234), epsilon(0.0), epsilon(None)
    ('1.23', '0', 'unbounded')
    """
    return "unbounded" if value is None or math.isinf(value) else number(value)


def percent(fraction: float | None) -> str:
    """A fraction of 1 as percent.

    >>> percent(0.1384), percent(None)
    ('13.8 %', '–')
    """
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def size(num_bytes: float) -> str:
    """Bytes in the unit that reads best, decimal.

    >>> size(950), size(5_700_000)
    ('950 B', '5.7 MB')
    """
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        num_bytes /= 1000
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
    return f"{num_bytes / 1000:,.1f} TB"


def duration(seconds: float | None) -> str:
    """A span of time, to its two largest units.

    >>> duration(42), duration(605), duration(12_000), duration(200_000), duration(None)
    ('42 s', '10 min', '3 h 20 min', '2 d 8 h', '–')
    """
    if seconds is None:
        return "–"
    seconds = max(seconds, 0)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < _DAY_S:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // _DAY_S:.0f} d {seconds % _DAY_S / 3600:.0f} h"


def relative(at: float, now: float) -> str:
    """A moment as seen from `now`.

    >>> relative(0, 600), relative(630, 600), relative(600, 600)
    ('10 min ago', 'in 30 s', 'now')
    """
    if abs(now - at) < 1:
        return "now"
    return f"{duration(now - at)} ago" if at < now else f"in {duration(at - now)}"


def utc(at: float) -> str:
    """A moment in UTC, to the minute.

    >>> utc(1_700_000_000.0)
    '2023-11-14 22:13'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def words(name: str) -> str:
    """An identifier as words.

    >>> words("too_few_reports")
    'too few reports'
    """
    return name.replace("_", " ")


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> counted(1, "round"), counted(1200, "round"), counted(2, "policy", "policies")
    ('1 round', '1,200 rounds', '2 policies')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def delta(value: float) -> str:
    """A small probability, by its power of ten.

    >>> delta(1e-10), delta(2.5e-06)
    ('10⁻¹⁰', '2.5·10⁻⁶')
    """
    factor, exponent = f"{value:.1e}".split("e")
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return power if factor == "1.0" else f"{factor}·{power}"


def odds(epsilon: float) -> str:
    """By how much epsilon bounds the change of any odds, a factor.

    >>> odds(0.0), odds(2.45), odds(8.0), odds(10_700.0)
    ('1', '11.6', '2,981', 'more than a million')
    """
    return "more than a million" if epsilon > math.log(1e6) else number(math.exp(epsilon))


def iso(at: float) -> str:
    """A moment for programs.

    >>> iso(1_700_000_000.0)
    '2023-11-14T22:13:20Z'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def plain(value: object) -> str:
    """A parameter's value: numbers as numbers, nothing as "none", anything else as it stands.

    What may be a device's id is cut short: enough to find it in the log on the command line, and no more.

    >>> plain(600.0), plain(None), plain("adam"), plain([1, 2]), plain("0123456789abcdef" * 2)
    ('600', 'none', 'adam', '1, 2', '012345…')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(" ".join(parameter(str(name), one)) for name, one in value.items())
    return _DEVICE_ID.sub(r"\1…", str(value))


def parameter(name: str, value: object) -> tuple[str, str]:
    """A parameter's name without its unit, and its value with it.

    >>> parameter("report_deadline_s", 600.0), parameter("l2_clip_norm", 1.0)
    (('report deadline', '10 min'), ('L2 clip norm', '1'))
    """
    if name.endswith("_s") and isinstance(value, int | float):
        return words(name.removesuffix("_s")), duration(value)
    if name.endswith("_at") and isinstance(value, int | float):
        return words(name), utc(value)
    return words(name).replace("l2", "L2"), plain(value)


FILTERS = (
    number,
    epsilon,
    percent,
    size,
    duration,
    relative,
    utc,
    words,
    counted,
    delta,
    odds,
    iso,
    plain,
    parameter,
)
"""What the templates write with."""
