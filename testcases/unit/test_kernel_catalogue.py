"""The mirror is the machine's own Debian mirror, and a name means the newest complete kernel."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness.errors import BadInput, Unavailable
from kvm_images import archive
from kvm_images.archive import Package, compare_versions
from kvm_images.kernels import CATALOGUE, DEFAULT, Candidate, choose, complete
from kvm_images.mirror import (
    Source,
    debian_source,
    machine_sources,
    parse_deb822_sources,
    parse_one_line_sources,
)

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

DEB822 = f"""\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
# where it was before: http://old.example/
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
"""

# Vendors that use Debian's suite names, its component, even the last word of its path.
VENDORS = """\
Types: deb
URIs: https://packages.vendor.example/product/debian/
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg

Types: deb
URIs: https://download.vendor.example/linux/debian
Suites: bookworm
Components: stable
Signed-By: /etc/apt/keyrings/vendor.asc
"""


def package(name: str, version: str, *depends: str, suite: str = "sid") -> Package:
    """A package of 30 MiB if it needs kmod, as kernels do, else one of dependencies alone."""
    size_bytes = 30 << 20 if "kmod" in depends else 2000
    return Package(name, version, depends, size_bytes, "0" * 64, suite)


def split_kernel(release: str, version: str, suite: str = "sid") -> list[Package]:
    parts = [f"linux-{part}-{release}-cloud-amd64" for part in ("base", "binary", "modules")]
    image = package(
        f"linux-image-{release}-cloud-amd64",
        version,
        "kmod",
        *parts,
        suite=suite,
    )
    return [image, *(package(part, version, suite=suite) for part in parts)]


def test_stanza_sources_are_read_without_comments_disabled_and_source_ones() -> None:
    assert parse_deb822_sources(DEB822) == [
        Source(
            "http://mirror.example/debian",
            ("bookworm", "bookworm-updates"),
            ("main", "contrib"),
            KEYRING,
        ),
        Source("http://mirror.example/debian-security", ("bookworm-security",), ("main",), KEYRING),
    ]


def test_one_line_sources_are_read_with_their_options() -> None:
    text = (
        "# deb http://commented.example/debian bookworm main\n"
        "deb-src http://sources.example/debian bookworm main\n"
        f"deb [arch=amd64 signed-by={KEYRING}] http://a.example/debian bookworm main contrib # x\n"
        "deb http://b.example/debian-security bookworm-security main\n"
    )
    assert parse_one_line_sources(text) == [
        Source("http://a.example/debian", ("bookworm",), ("main", "contrib"), KEYRING),
        Source("http://b.example/debian-security", ("bookworm-security",), ("main",), ""),
    ]


def test_both_formats_of_the_machine_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/vendor.sources.disabled").write_text(VENDORS)
    assert [source.uri for source in machine_sources(tmp_path)] == [
        "http://a.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]


@pytest.mark.parametrize(
    "text", [VENDORS + "\n" + DEB822, DEB822 + "\n" + VENDORS], ids=["first", "last"]
)
def test_vendors_with_debian_suite_names_are_not_debian(text: str) -> None:
    sources = parse_deb822_sources(text)
    assert debian_source("sid", sources).uri == "http://mirror.example/debian"
    assert (
        debian_source("bullseye-security", sources).uri == "http://mirror.example/debian-security"
    )


def test_vendors_alone_are_no_mirror() -> None:
    with pytest.raises(Unavailable, match="sid: no Debian mirror among the apt sources"):
        debian_source("sid", parse_deb822_sources(VENDORS))


def test_security_is_found_beside_a_mirror_that_names_none() -> None:
    sources = parse_one_line_sources("deb http://mirror.example/debian/ bookworm main")
    source = debian_source("bookworm-security", sources)
    assert source.uri == "http://mirror.example/debian-security"
    assert source.suites == ("bookworm-security",)


def test_a_mirror_list_of_a_cloud_image_counts_as_a_mirror() -> None:
    sources = parse_one_line_sources("deb mirror+file:/etc/apt/mirrors/debian.list trixie main")
    assert debian_source("sid", sources).uri == "mirror+file:/etc/apt/mirrors/debian.list"


def test_an_unknown_suite_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="no suite 'buzz'\nnext: use one of bullseye, "):
        archive.packages("buzz", "linux-image-")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(
            "Err:1 http://m sid InRelease\nE: Failed to fetch http://m/x  404\n"
            "E: Some index files failed to download. They have been ignored.\n",
            "Failed to fetch http://m/x  404",
            id="not-the-summary",
        ),
        pytest.param("W: old\nE: first\nE: last\nW: new", "last", id="last-error"),
        pytest.param("dpkg-deb: error: bad archive", "dpkg-deb: error: bad archive", id="dpkg"),
        pytest.param("odd\n", "odd", id="no-error-line"),
        pytest.param("", "nothing", id="silent"),
    ],
)
def test_the_reason_is_the_last_error_line_of_apt(said: str, reason: str) -> None:
    assert archive._reason(said) == reason


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('Acquire::http::Proxy "http://proxy.example:3128";', True),
        ('Acquire::Check-Valid-Until "false";', True),
        ('Acquire::AllowInsecureRepositories "1";', False),
        ('Acquire::AllowDowngradeToInsecureRepositories "1";', False),
        ('Acquire::AllowWeakRepositories "1";', False),
        ('Acquire::IndexTargets::deb::DEP-11::KeepCompressed "true";', False),
        ('APT::Update::Post-Invoke:: "rm -rf /";', False),
    ],
)
def test_the_machine_says_how_to_reach_a_mirror_and_no_more(
    line: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_run", lambda *_, **__: f"{line}\n")
    written = archive._configuration(tmp_path)
    assert (line in written) == kept
    assert 'AllowInsecureRepositories "false";' in written


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_a_full_disk_is_called_that(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(Unavailable, match="no space left on its file system\nnext: free some"),
        archive.writing(tmp_path),
    ):
        raise OSError(number, "as the system says it")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param("7.3~rc7-1~exp1", "7.3.4-1~bpo13+1", id="candidate-before-release"),
        pytest.param("6.12.107-1", "6.12.117-1~deb12u1", id="numbers-not-letters"),
        pytest.param("7.2.13-1~bpo13+1", "7.2.13-1", id="backport-before-original"),
    ],
)
def test_versions_compare_as_dpkg_says(older: str, newer: str) -> None:
    assert compare_versions(older, newer) == -1
    assert compare_versions(newer, older) == 1
    assert compare_versions(newer, newer) == 0


def test_a_kernel_in_one_package_is_complete() -> None:
    image = package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2", "kmod", suite="bookworm")
    assert complete([image]) == [
        Candidate("6.1.0-56-cloud-amd64", "6.1.192-2", "bookworm", (image,))
    ]


def test_a_split_kernel_is_its_parts_without_the_empty_image() -> None:
    (found,) = complete(split_kernel("7.2.13+deb14", "7.2.13-1"))
    assert found.release == "7.2.13+deb14-cloud-amd64"
    assert [part.name.split("-")[1] for part in found.packages] == ["base", "binary", "modules"]


def test_modules_without_their_image_are_passed_over() -> None:
    lone = package("linux-modules-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", "kmod")
    found = complete([lone, *split_kernel("7.2.12+deb13", "7.2.12-1~bpo13+1")])
    assert [each.version for each in found] == ["7.2.12-1~bpo13+1"]


@pytest.mark.parametrize("missing", ["base", "binary", "modules"])
def test_an_image_that_lacks_a_part_is_passed_over(missing: str) -> None:
    listed = [each for each in split_kernel("7.2", "7.2-1") if f"-{missing}-" not in each.name]
    assert complete(listed) == []


def test_a_part_of_another_version_does_not_complete_an_image() -> None:
    listed = [each for each in split_kernel("7.3", "7.3~rc7-1") if "-binary-" not in each.name]
    older = [each for each in split_kernel("7.3", "7.3~rc6-1") if "-binary-" in each.name]
    assert complete([*listed, *older]) == []


def test_packages_that_only_depend_on_a_kernel_are_none() -> None:
    listed = [
        package(
            "linux-image-cloud-amd64",
            "6.1.192-2",
            "linux-image-6.1.0-56-cloud-amd64",
        ),
        package("linux-image-6.12-cloud-amd64", "6.12.117-1", "linux-image-6.12.117"),
        package("linux-image-6.1.0-56-amd64", "6.1.192-2", "kmod"),
        package("linux-image-7.3-cloud-amd64-dbg", "7.3-1", "linux-image-7.3-cloud-amd64-dbgsym"),
    ]
    assert complete(listed) == []


def candidates(*versions: tuple[str, str]) -> list[Candidate]:
    return [Candidate(f"{version}-cloud-amd64", version, suite, ()) for version, suite in versions]


ARCHIVE = candidates(
    ("6.1.176-1", "bookworm"),
    ("6.1.192-2", "bookworm-security"),
    ("6.12.117-1~deb12u1", "bookworm-security"),
    ("6.12.107-1", "trixie"),
    ("7.2.9-1~bpo13+1", "trixie-backports"),
    ("7.2.12-1~bpo13+1", "trixie-backports"),
    ("7.2.13-1", "sid"),
    ("7.4~rc1-1", "sid"),
    ("7.3~rc6-1~exp1", "experimental"),
    ("7.3~rc7-1~exp1", "experimental"),
    ("7.3.1-1~exp1", "experimental"),
)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("6.1", "6.1.192-2"),
        ("6.12", "6.12.117-1~deb12u1"),
        ("7.2", "7.2.13-1"),
        ("7.3", "7.3.1-1~exp1"),
        ("newest", "7.2.13-1"),
        ("rc", "7.3~rc7-1~exp1"),
        ("5.10", None),
    ],
)
def test_a_name_means_the_newest_of_its_suites(name: str, version: str | None) -> None:
    chosen = choose(CATALOGUE[name], ARCHIVE)
    assert (chosen.version if chosen else None) == version


def test_a_candidate_outside_the_suites_of_a_name_is_not_taken() -> None:
    assert choose(CATALOGUE["6.1"], candidates(("6.1.200-1", "sid"))) is None


def test_every_suite_of_the_catalogue_can_be_read() -> None:
    assert {suite for entry in CATALOGUE.values() for suite in entry.suites} <= set(archive.SUITES)
    assert DEFAULT in CATALOGUE
