"""A pip wheel from the package index that this machine is configured for, by its pinned hash.

For a machine without ensurepip, pip and apt. Which index is asked does not matter to what runs:
only the one file with this hash does.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import html
import os
import re
import ssl
import urllib.parse
import urllib.request
from pathlib import Path

from harness.errors import Unavailable

_WHEEL = "pip-26.3-py3-none-any.whl"
_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
_LINK = re.compile(r"""href\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
_TIMEOUT_S = 60


def pip_wheel(folder: Path) -> Path | None:
    """Fetch the pinned pip wheel into ``folder``; None where no index is configured."""
    index = _configured("index-url")
    if index is None:
        return None
    page = index.rstrip("/") + "/pip/"
    try:
        links = _LINK.findall(_get(page).decode(errors="replace"))
        address = next(
            urllib.parse.urljoin(page, html.unescape(link))
            for link in links
            if urllib.parse.urlsplit(html.unescape(link)).path.endswith("/" + _WHEEL)
        )
        content = _get(address)
    except StopIteration:
        raise Unavailable(f"{_shown(page)}: has no {_WHEEL}; install pip for this python") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{_shown(page)}: fetching {_WHEEL} failed: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise Unavailable(f"{_shown(page)}: {_WHEEL}: SHA256 is {found}, wanted {_SHA256}")
    wheel = folder / _WHEEL
    wheel.write_bytes(content)
    return wheel


def _get(address: str) -> bytes:
    context = ssl.create_default_context()
    if certificates := _configured("cert"):
        context.load_verify_locations(certificates)
    with urllib.request.urlopen(address, timeout=_TIMEOUT_S, context=context) as answer:
        content: bytes = answer.read()
        return content


def _shown(address: str) -> str:
    """An address without the password that an index-url may hold."""
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _configured(option: str) -> str | None:
    """An option as pip would read it: its variable, else the last of its files that has it."""
    if value := os.environ.get("PIP_" + option.upper().replace("-", "_")):
        return value
    return next(filter(None, (_in_file(path, option) for path in _files())), None)


def _files() -> list[Path]:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    files = [config / "pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf")]
    if own := os.environ.get("PIP_CONFIG_FILE"):
        return [] if own == os.devnull else [Path(own), *files]
    return files


def _in_file(path: Path, option: str) -> str | None:
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, OSError, UnicodeError):
        parser.read(path)
    for section in ("install", "global"):
        if parser.has_option(section, option):
            return parser.get(section, option).strip()
    return None
