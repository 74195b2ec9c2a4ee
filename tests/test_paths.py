import os
import stat

import pytest

from skage._files.paths import replacing, resolve_path


def write(path, text, **options):
    with replacing(path, "w", **options) as file:
        file.write(text)


def test_a_home_folder_is_expanded_and_what_names_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert resolve_path("~/faces") == str(tmp_path / "faces")
    assert resolve_path("faces") == str(tmp_path / "faces")
    with pytest.raises(ValueError, match="folder='' is empty"):
        resolve_path("", "folder")
    with pytest.raises(ValueError, match="folder=' ' is empty"):
        resolve_path(" ", "folder")
    with pytest.raises(
        ValueError, match="'~nobody-of-this-name/x' needs a home folder that cannot"
    ):
        resolve_path("~nobody-of-this-name/x")
    (tmp_path / "~odd").mkdir()
    assert resolve_path("~odd/x") == str(tmp_path / "~odd" / "x")


def fail(path, text, **options):
    """Write, and run out of room; `path` is as it was meanwhile."""
    with replacing(path, "w", **options) as file:
        file.write(text)
        file.flush()
        assert not path.exists() or path.read_text() == "earlier"
        raise OSError(file.name)


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "ages.csv"
    write(path, "earlier")
    with pytest.raises(OSError, match="partial"):
        fail(path, "half")
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["ages.csv"]


def test_what_was_written_before_an_error_can_be_kept(tmp_path):
    path = tmp_path / "ages.csv"
    with pytest.raises(OSError, match="partial") as caught:
        fail(path, "half", keep=True)
    with open(str(caught.value)) as kept:
        assert kept.read() == "half"
    assert not path.exists()


def test_an_empty_file_is_not_kept(tmp_path):
    with pytest.raises(OSError, match="partial"):
        fail(tmp_path / "ages.csv", "", keep=True)
    assert not os.listdir(tmp_path)


def test_a_link_stays_a_link_to_what_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "ages.csv"
    link.symlink_to(tmp_path / "disk" / "real.csv")
    for text in ("first", "second"):  # what it points to is not there yet, and is
        write(link, text)
        assert link.is_symlink()
        assert (tmp_path / "disk" / "real.csv").read_text() == text


def test_a_new_file_follows_the_umask_and_a_replaced_one_keeps_its_permissions(tmp_path):
    path = tmp_path / "ages.csv"
    old = os.umask(0o027)
    try:
        write(path, "")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    write(path, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_device_is_written_to_rather_than_replaced():
    write("/dev/null", "text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError):
        write(tmp_path, "text")
