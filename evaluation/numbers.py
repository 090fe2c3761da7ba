"""Figures as people read them."""


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.1634)
    '16.3 %'
    """
    return f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """A figure to three digits; None is what has no bound.

    >>> number(1234.5), number(0.98765), number(None)
    ('1,230', '0.988', '∞')
    """
    if value is None:
        return "∞"
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def human_bytes(count: float) -> str:
    """Bytes in the unit that people read.

    >>> human_bytes(5_690_012), human_bytes(1_200), human_bytes(12)
    ('5.7 MB', '1.2 kB', '12 bytes')
    """
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def gain(after: float, before: float) -> str:
    """How much `after` is above `before`, relatively.

    >>> gain(0.132, 0.12), gain(0.11, 0.12), gain(0.1, 0.0)
    ('+10 %', '−8 %', 'from 0')
    """
    if before == 0:
        return "from 0"
    change = round(100 * (after / before - 1))
    return f"{'+' if change >= 0 else '−'}{abs(change)} %"


def small(value: float) -> str:
    """A small probability by its power of ten.

    >>> small(1e-5), small(2.3e-10), small(0.0)
    ('1e-5', '2.3e-10', '0')
    """
    digits, _, power = f"{value:.2g}".partition("e")
    return f"{digits}e{int(power)}" if power else digits
