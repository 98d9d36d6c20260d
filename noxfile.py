"""Tests on each supported Python, with the lowest declared versions, and from the sdist: `nox`, beside `make test`.

It needs nox and uv, which finds or fetches the Pythons. Arguments behind -- are pytest's: `nox -s tests-3.13 -- tests/stats`.
"""

import tarfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["tests", "lowest", "sdist"]

PYTHONS = ["3.11", "3.12", "3.13"]
CHOICE = ("-m", "not slow", "-n", "2", "--dist", "worksteal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Runs the tests with the newest versions of all packages."""
    session.install("--editable", ".[test]")
    session.run("pytest", *CHOICE, *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Runs the tests with the lowest versions that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", "--editable", ".[test]")
    session.run("pytest", *CHOICE, *session.posargs)


@nox.session(python=PYTHONS[0])
def sdist(session: nox.Session) -> None:
    """Builds the source distribution, and runs the tests that it holds in its own folder."""
    session.install("build")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder))
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    session.chdir(folder / archive.name.removesuffix(".tar.gz"))
    session.install(".[test]")
    session.run("pytest", *CHOICE, *session.posargs)
