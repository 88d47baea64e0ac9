"""Files are written whole or not at all, several together, and nothing is left lying about."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gammagrad import FluxMaps
from gammagrad.errors import FileAccessError, FileIsThereError, FileMissingError
from gammagrad.io.atomic import write_files, write_text
from gammagrad.maps import Map, MapAxis
from gammagrad.models import PowerLawSpectralModel, SkyModel


def content(text: bytes):
    return lambda file: file.write(text)


def fails(file) -> None:
    file.write(b"half")
    raise OSError(28, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old a")
    with pytest.raises(FileAccessError, match=r"cannot write .*/b' \(No space left"):
        write_files([(tmp_path / "a", content(b"new")), (tmp_path / "b", fails)], overwrite=True)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old a"


def test_a_move_that_fails_takes_the_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old a")
    replace = os.replace

    def some(source, target) -> None:
        if Path(target).name == "b":
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", some)
    files = [(tmp_path / name, content(b"new")) for name in ("a", "c", "b")]
    with pytest.raises(FileAccessError, match="Permission denied"):
        write_files(files, overwrite=True)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old a"


def test_norms_do_not_lie_beside_another_model(tmp_path: Path) -> None:
    """The issue's instance: the model's file was replaced before the maps could not be written."""
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)

    def maps(amplitude: float) -> FluxMaps:
        model = SkyModel(PowerLawSpectralModel(amplitude=amplitude), name="a")
        return FluxMaps({"norm": Map.create(npix=(4, 3), axes=[axis], data=1.0)}, model)

    maps(1e-12).write(tmp_path / "m.fits")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    worse = maps(1e-9)
    worse.meta["bad"] = "\u03b1"
    worse["norm"].meta = {"a": "b" * 10}
    os.chmod(tmp_path, 0o500)
    try:
        if os.access(tmp_path, os.W_OK):  # root may write anywhere
            (tmp_path / "m_model.yaml").unlink()
            (tmp_path / "m_model.yaml").mkdir()
            with pytest.raises(FileAccessError, match="is a folder"):
                worse.write(tmp_path / "m.fits", overwrite=True)
            assert (tmp_path / "m.fits").read_bytes() == before["m.fits"]
            return
        with pytest.raises(FileAccessError, match="cannot write"):
            worse.write(tmp_path / "m.fits", overwrite=True)
        assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    finally:
        os.chmod(tmp_path, 0o700)


def test_a_file_keeps_its_mode_and_a_link_its_place(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"old")
    real.chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_text("new", tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    (tmp_path / "nowhere").symlink_to("later")
    write_text("new", tmp_path / "nowhere")
    assert (tmp_path / "later").read_text() == "new"


def test_what_cannot_be_written_to_says_why(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(FileIsThereError, match="overwrite=True"):
        write_text("", tmp_path / "there")
    with pytest.raises(FileExistsError):
        write_text("", tmp_path / "there")
    with pytest.raises(FileMissingError, match="no folder"):
        write_text("", tmp_path / "folder" / "file")
    with pytest.raises(FileAccessError, match="is a folder"):
        write_text("", tmp_path, overwrite=True)
    with pytest.raises(FileAccessError, match="two contents for one file"):
        write_files([(tmp_path / "a", content(b"")), (tmp_path / "a", content(b""))])
    with pytest.raises(FileAccessError, match=r"cannot write .*choose another place"):
        write_text("", "/proc/gammagrad-test")


def test_of_two_writers_one_fails(tmp_path: Path) -> None:
    for number in range(20):
        path, ready = tmp_path / f"file-{number}", threading.Barrier(2)
        found: list[str] = []

        def write(text: str, path=path, ready=ready, found=found) -> None:
            def slowly(file) -> None:
                ready.wait(5)
                file.write(text.encode())

            try:
                write_files([(path, slowly)])
                found.append(text)
            except FileIsThereError:
                found.append("")

        threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert min(found) == ""
        assert path.read_text() == sorted(found)[1] != ""
    assert not any(name.endswith(".tmp") for name in names(tmp_path))


def test_a_killed_process_leaves_nothing_that_the_next_one_does_not_remove(tmp_path: Path) -> None:
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("no SIGKILL")
    program = (
        "import sys, time\nfrom gammagrad.io.atomic import write_files\n"
        "def slowly(file):\n    file.write(b'half'); file.flush(); print('now', flush=True)\n"
        "    time.sleep(60)\n"
        f"write_files([({str(tmp_path / 'file')!r}, slowly)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        assert len(names(tmp_path)) == 1
        # it is being written, so it is nobody's to remove
        write_text("other", tmp_path / "file")
        assert len(names(tmp_path)) == 2
        process.kill()
    write_text("whole", tmp_path / "file", overwrite=True)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "whole"


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    m = Map.create(npix=(4, 3), data=np.arange(12.0).reshape(3, 4))
    m.write(tmp_path / "a.fits.gz")
    m.write(tmp_path / "b.fits.gz")
    assert (tmp_path / "a.fits.gz").read_bytes() == (tmp_path / "b.fits.gz").read_bytes()
