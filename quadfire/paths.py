"""Where the package's own files lie, and where what it builds is kept.

| name | what lies there |
|---|---|
| `PACKAGE` | the package itself: `rtl/`, `models/`, `firmware/`, `sim/` and their data |
| `CHECKOUT` | the top of the source tree, or None for an installed package |
| `PRETRAINED` | the trained networks that come with the package |
| `make_folder(folder)` | makes a folder to write to, or says why it cannot be made |
| `cache_folder()` | what is built once and used again: generated Verilog, compiled simulations |

The cache is `build/` in a checkout, else the user's cache folder; the variable `QUADFIRE_CACHE`
names another one. Nothing is ever written beside the installed code. Results that a user asked
for go to `build/` in the folder where the command runs.
"""

import os
from pathlib import Path

__all__ = ["CHECKOUT", "PACKAGE", "PRETRAINED", "cache_folder", "make_folder"]

PACKAGE = Path(__file__).resolve().parent

#: In a checkout the rooms are links to the folders at its top.
CHECKOUT = PACKAGE.parent if (PACKAGE / "rtl").is_symlink() else None

PRETRAINED = PACKAGE / "models" / "pretrained"


def cache_folder() -> Path:
    """Where what was built is kept; it may not be there yet."""
    if named := os.environ.get("QUADFIRE_CACHE"):
        return Path(named).expanduser()
    if CHECKOUT is not None:
        return CHECKOUT / "build"
    from platformdirs import user_cache_path  # only here: drivers do without

    return user_cache_path("quadfire")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there; OSError says why it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be made: {error.strerror}") from None
