"""Which mirror this machine fetches Debian from, out of its configured apt sources.

Both formats are read: one-line ``*.list`` and deb822 ``*.sources``. Sources of other vendors are
told apart, since they use Debian's suite names too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.errors import Unavailable

ETC_APT = Path("/etc/apt")

_DEBIAN_SUITE = re.compile(
    r"(bullseye|bookworm|trixie|forky|duke|sid|experimental|unstable|testing|(old)*stable)"
    r"(-updates|-backports|-proposed-updates)?"
)
_SECURITY_SUITE = re.compile(r"[a-z]+(-security|/updates)")


@dataclass(frozen=True, slots=True)
class Source:
    """One place the machine's apt fetches from: an address with its suites and keys."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str  # keyring paths, or a key block with newlines, or ""


def parse_one_line_sources(text: str) -> list[Source]:
    """Read the one-line format of a ``sources.list``; comments and ``deb-src`` are skipped."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(
            r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(#.*)?", line
        )
        if not match:
            continue
        options, uri, suite, components, _ = match.groups()
        signed = re.search(r"(?:^|\s)signed-by\+?=(\S+)", options or "", re.IGNORECASE)
        found.append(
            Source(
                uri=uri,
                suites=(suite,),
                components=tuple(components.split()),
                signed_by=signed[1].replace(",", " ") if signed else "",
            )
        )
    return found


def parse_deb822_sources(text: str) -> list[Source]:
    """Read the stanza format of a ``*.sources`` file; disabled stanzas are skipped."""
    found: list[Source] = []
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = fields_of(stanza)
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").strip().lower() in ("no", "false", "0", "off", "without"):
            continue
        found.extend(
            Source(
                uri=uri,
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                signed_by=fields.get("signed-by", "").strip(),
            )
            for uri in fields.get("uris", "").split()
        )
    return found


def machine_sources(etc: Path = ETC_APT) -> list[Source]:
    """Every enabled binary source below ``etc``, in the order in which apt reads them."""
    found: list[Source] = []
    main, parts = etc / "sources.list", etc / "sources.list.d"
    for path in [main, *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        parse = parse_deb822_sources if path.suffix == ".sources" else parse_one_line_sources
        found.extend(parse(text))
    return found


def debian_source(suite: str, sources: Iterable[Source]) -> Source:
    """The machine's own source for ``suite``: the same mirror and keys, with that suite alone.

    A security suite comes from the machine's security source, else from ``<mirror>-security``.
    Raises ``Unavailable`` when no source of the machine looks like Debian's.
    """
    sources = list(sources)
    security = suite.endswith("-security")
    chosen = _best(sources, _SECURITY_SUITE if security else _DEBIAN_SUITE)
    if chosen is None and security and (main := _best(sources, _DEBIAN_SUITE)):
        chosen = Source(f"{main.uri.rstrip('/')}-security", (), (), main.signed_by)
    if chosen is None:
        raise Unavailable(
            f"{suite}: no Debian mirror among the apt sources of this machine ({ETC_APT})\n"
            "next: add a Debian source there, or bring your own: --kernel BZIMAGE --modules DIR"
        )
    return Source(chosen.uri, (suite,), ("main",), chosen.signed_by)


def fields_of(stanza: str) -> dict[str, str]:
    """The fields of one deb822 stanza, names in lower case, continuation lines joined."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _best(sources: list[Source], suite: re.Pattern[str]) -> Source | None:
    """The source most likely to be Debian's own archive; the first of equals."""
    fit = [
        (score, -position, source)
        for position, source in enumerate(sources)
        if "main" in source.components
        and any(suite.fullmatch(name) for name in source.suites)
        and (score := _debian_likeness(source)) >= 0
    ]
    return max(fit, key=lambda each: each[:2])[2] if fit else None


def _debian_likeness(source: Source) -> int:
    """How much a source looks like Debian's: others use Debian's suite names and ``main`` too."""
    address = urlsplit(source.uri)
    host, last = address.hostname or "", address.path.rstrip("/").rpartition("/")[2]
    score = 4 if host == "debian.org" or host.endswith(".debian.org") else 0
    score += 2 if last.removesuffix(".list") in ("debian", "debian-security") else 0
    if "debian-archive-" in source.signed_by:
        return score + 4
    # A vendor's repository names its vendor's key; a key block cannot be told apart.
    return score - 5 if source.signed_by and "\n" not in source.signed_by else score
