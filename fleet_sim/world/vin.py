"""Vehicle identification numbers of vehicles that do not exist (ISO 3779, 49 CFR 565)."""

_VALUES = {c: int(c) for c in "0123456789"}
_VALUES.update(zip("ABCDEFGH", range(1, 9), strict=True))
_VALUES.update(zip("JKLMN", range(1, 6), strict=True))
_VALUES.update({"P": 7, "R": 9})
_VALUES.update(zip("STUVWXYZ", range(2, 10), strict=True))
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_ALPHABET = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"

_MAKER = "0FS"
"""Meant to be nobody's: no region's codes are known to begin with 0 (assumption)."""
_MODEL = "TRK"
_YEAR, _PLANT = "T", "A"
MAX_GROUPS, MAX_SERIAL = len(_ALPHABET) ** 2, 10**6


def check_digit(vin: str) -> str:
    """Ninth character that the other sixteen of `vin` call for: `0`-`9` or `X`."""
    total = sum(_VALUES[c] * w for c, w in zip(vin, _WEIGHTS, strict=True))
    return "0123456789X"[total % 11]


def vin(group_index: int, i: int) -> str:
    """The VIN of vehicle `i` of a group: unique, valid and always the same."""
    if not (0 <= group_index < MAX_GROUPS and 0 <= i < MAX_SERIAL):
        raise ValueError(
            f"vin: group {group_index}, vehicle {i} (allowed: 0..{MAX_GROUPS - 1}, "
            f"0..{MAX_SERIAL - 1})"
        )
    high, low = divmod(group_index, len(_ALPHABET))
    head = f"{_MAKER}{_MODEL}{_ALPHABET[high]}{_ALPHABET[low]}"
    rest = f"{_YEAR}{_PLANT}{i:06d}"
    return f"{head}{check_digit(f'{head}0{rest}')}{rest}"
