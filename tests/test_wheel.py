"""What is built from the tree: an sdist that builds, and one wheel that works by itself."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "moeserve", "analysis", "slurm", "diffusion_study", "orchestrator", "servers", "workloads",
    "perfmodel", "microbench", "strategies", "catalog",
)  # fmt: skip
DATA = {".csv", ".css", ".html", ".j2", ".js", ".json", ".pyi", ".sh", ".txt", ".typed", ".yaml"}
MADE = ("__pycache__", "*.so", "*.egg-info", ".*_cache")
MADE_AT_THE_TOP = (".venv", ".git", "build", "dist", "results*", "out*")
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""
SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def what_was_made(folder: str, names: list[str]) -> set[str]:
    """Return what of a folder no checkout has."""
    patterns = (*MADE, *MADE_AT_THE_TOP) if Path(folder) == ROOT else MADE
    return shutil.ignore_patterns(*patterns)(folder, names)


def built(kind: str, tree: Path, into: Path) -> Path:
    """Call the build backend as pip does, with the setuptools that is here."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(into)],
        cwd=tree, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree") / "tree"
    shutil.copytree(ROOT, tree, ignore=what_was_made)
    return built("sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that comes of the sdist alone."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # since Python 3.11.4
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)
    (tree,) = folder.iterdir()
    return built("wheel", tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and the dependencies from the one that runs the tests.

    Of that one only the folder of libraries is on the path, and no `.pth` file of it is read: its
    own editable install of moeserve is out of reach.
    """
    home = tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = str(home / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)],
                   check=True)  # fmt: skip
    import numpy

    (home / SITE / "libraries.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")
    return home


def run(home: Path, where: Path, *words: str) -> str:
    done = subprocess.run(
        [str(home / "bin" / words[0]), *words[1:]],
        cwd=where, env={"PATH": "/usr/bin:/bin", "HOME": str(where)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of(package: str) -> set[str]:
    """Return what of a package belongs into the wheel."""
    found = [path for path in (ROOT / package).rglob("*") if "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix() for path in found if path.suffix in {".py", *DATA}}


def test_the_sdist_holds_the_tree_with_tests_and_documents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"setup.py", "workloads/transport/_native.c", "workloads/transport/_native_send.c",
                "docs/structure.svg", "CHANGELOG.md", "tests/test_wheel.py", "Makefile", ".ci/run",
                "examples/notebook.py"}  # fmt: skip
    assert expected <= names
    assert not {name for name in names if name.endswith((".so", ".pyc")) or ".venv" in name}


def test_the_wheel_holds_every_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    compiled = {name for name in names if name.endswith(".so")}
    assert names - compiled == set().union(*map(files_of, PACKAGES))
    assert compiled <= {"workloads/transport/_native.abi3.so"}


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_a_later_python_takes_the_same_wheel(wheel: Path, minor: int) -> None:
    tags = parse_wheel_filename(wheel.name)[3]
    (tag,) = tags
    taken: set[Tag] = {*cpython_tags((3, minor), platforms=[tag.platform]),
                       *compatible_tags((3, minor), platforms=[tag.platform])}  # fmt: skip
    assert tags <= taken, tag
    assert not tags & set(cpython_tags((3, 10), platforms=[tag.platform]))


def test_an_installed_wheel_is_whole_by_itself(installed: Path, tmp_path: Path) -> None:
    places = run(installed, tmp_path, "python", "-c",
                 f"import {', '.join(PACKAGES)} as _; print(*(m.__file__ for m in "
                 f"({', '.join(PACKAGES[:-1])}, _)), sep='\\n')")  # fmt: skip
    assert all(Path(place).is_relative_to(installed) for place in places.splitlines())
    assert "autotune" in run(installed, tmp_path, "moeserve", "--help")
    assert "Mixtral-8x7B" in run(installed, tmp_path, "moeserve", "models")


def test_a_study_runs_and_is_reported_from_an_installed_wheel(
    installed: Path, tmp_path: Path
) -> None:
    study = "run --engine simulated -s tp,ep -w 16:16:4 -c 1,2 -o study --format csv"
    rows = run(installed, tmp_path, "moeserve", *study.split()).splitlines()
    assert len(rows) == 1 + 4
    assert run(installed, tmp_path, "moeserve", "verify", "study", "--format", "json").strip()
    run(installed, tmp_path, "moeserve", "report", "study", "-o", "report.html")
    assert "<html" in (tmp_path / "report.html").read_text()


def test_the_compiled_reader_comes_with_the_wheel_where_there_is_a_compiler(
    installed: Path, tmp_path: Path
) -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    loads = "import workloads.transport._native as n; print(n.__file__, n.Reader)"
    assert str(installed) in run(installed, tmp_path, "python", "-c", loads)
