import multiprocessing
import os
import sqlite3
import warnings

import pytest

from skage import clear_memory
from skage._files import store
from skage._files.store import FeatureStore, clear_store, open_existing, open_store


@pytest.fixture(autouse=True)
def nothing_was_told():
    clear_memory()


def key(i):
    return i.to_bytes(20, "big")


def content(i, size=50_000):
    return i.to_bytes(2, "big") * (size // 2)


def test_entries_outlive_the_process_that_made_them(tmp_path):
    with open_store(tmp_path / "new" / "folder") as first:
        first.put({key(i): content(i) for i in range(5)}, "numbers")
    with open_store(tmp_path / "new" / "folder") as second:
        assert [second.get(key(i)) for i in range(5)] == [content(i) for i in range(5)]
        assert second.get(key(9)) is None
        (holding,) = second.holdings()
        assert (holding.label, holding.n_entries, holding.n_bytes) == ("numbers", 5, 250_000)


def test_a_damaged_entry_counts_as_absent_until_it_is_stored_again(tmp_path):
    with open_store(tmp_path) as entries:
        entries.put({key(i): content(i) for i in range(3)})
    database = sqlite3.connect(tmp_path / "activations-1.sqlite")
    with database:
        database.execute("UPDATE content SET data = zeroblob(50000) WHERE id = 2")
    database.close()
    with open_store(tmp_path) as entries:
        assert [entries.get(key(i)) is None for i in range(3)] == [False, True, False]
        entries.put({key(1): content(1)})
        assert entries.get(key(1)) == content(1)
        assert entries.holdings()[0].n_entries == 3


def test_the_entries_not_used_for_longest_go(tmp_path, monkeypatch):
    now = [1_000_000]
    monkeypatch.setattr(store.time, "time", lambda: now[0])
    with open_store(tmp_path) as entries:
        entries.put({key(i): content(i) for i in range(40)})
        now[0] += 10_000
        for i in range(10):
            entries.get(key(i))
    now[0] += 10_000
    with open_store(tmp_path) as entries:
        entries.limit = 2_000_000
        entries.put({key(i): content(i) for i in range(40, 55)})
        assert entries.n_bytes <= 2_000_000
        there = [i for i in range(55) if entries.get(key(i)) is not None]
    assert set(there) >= {*range(10), *range(40, 55)}
    with open_store(tmp_path) as entries:
        assert entries.limit == 2_000_000  # for whoever comes next
        entries.limit = 500_000
    assert (tmp_path / "activations-1.sqlite").stat().st_size <= 500_000


def test_a_store_smaller_than_the_work_says_so_once(tmp_path):
    with open_store(tmp_path) as entries:
        entries.limit = 500_000
        with pytest.warns(UserWarning, match="is limited to 0.0005 GB, less") as caught:
            for i in range(100):
                entries.put({key(i): content(i)})
        assert len(caught) == 1
        assert entries.get(key(99)) == content(99)
        assert entries.n_bytes < 700_000


def _fill(folder, start):
    with open_store(folder) as entries:
        for i in range(start, start + 200):
            entries.put({key(i): content(i)})
            entries.get(key(i // 2))


def test_processes_write_and_read_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_fill, args=(tmp_path, start)) for start in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with open_store(tmp_path) as entries:
        assert all(entries.get(key(i)) == content(i) for i in range(400))


def _open(folder, barrier):
    for i in range(10):
        barrier.wait()
        with warnings.catch_warnings(), open_store(folder / str(i)) as entries:
            warnings.simplefilter("error")
            entries.put({key(0): content(0)})
            assert entries.get(key(0)) == content(0)


def test_processes_open_a_new_store_at_the_same_moment(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(6)
    openers = [spawn.Process(target=_open, args=(tmp_path, barrier)) for _ in range(6)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
        assert opener.exitcode == 0


def test_a_store_is_read_while_times_of_use_cannot_be_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_USE_INTERVAL", -1)
    monkeypatch.setattr(store, "_USE_BATCH", 2)
    with open_store(tmp_path) as entries, open_store(tmp_path) as other:
        entries.put({key(i): content(i) for i in range(5)})
        with other._transaction():
            assert all(entries.get(key(i)) == content(i) for i in range(3))


def test_a_full_disk_warns_once_and_what_is_there_stays(tmp_path):
    with open_store(tmp_path) as entries:
        entries.put({key(0): content(0)})
        entries._db.execute("PRAGMA max_page_count = 20")  # as if no more room were there
        with pytest.warns(UserWarning, match="full") as caught:
            for i in range(1, 20):
                entries.put({key(i): content(i)})
        assert len(caught) == 1
        assert entries.get(key(0)) == content(0)


def test_a_folder_that_cannot_be_made_warns_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be used") as caught:
        for _ in range(3):
            with open_store(tmp_path / "file" / "cache") as entries:
                entries.put({key(0): content(0)})
                assert entries.get(key(0)) is None
    assert len(caught) == 1
    assert "Pass another folder as feature_cache" in str(caught[0].message)


def test_a_file_in_place_of_the_folder_is_called_one(tmp_path):
    (tmp_path / "file").write_text("in the way")
    told = r"\(it is a file, not a folder\).* Pass another folder"
    with pytest.warns(UserWarning, match=told), open_store(tmp_path / "file") as entries:
        assert entries.problem == "it is a file, not a folder"


def test_the_warning_says_that_a_folder_is_not_writable(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(store.sqlite3, "connect", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    told = r"\(it is not writable\).* Pass another folder"
    with pytest.warns(UserWarning, match=told), open_store(tmp_path) as entries:
        assert not entries.usable


def test_a_damaged_store_says_how_to_empty_it(tmp_path):
    folder = tmp_path / "my cache"
    folder.mkdir()
    (folder / "activations-1.sqlite").write_bytes(b"no database" * 5000)
    told = "Empty it: python -m skage cache clear --folder '/"
    with pytest.warns(UserWarning, match=told), open_store(folder) as entries:
        assert not entries.usable


def test_a_file_that_is_not_ours_is_left_as_it_is(tmp_path):
    database = sqlite3.connect(tmp_path / "activations-1.sqlite")
    with database:
        database.execute("CREATE TABLE entry (key BLOB)")
    with pytest.warns(UserWarning, match="cannot be used"), open_store(tmp_path) as entries:
        entries.put({key(0): content(0)})
        assert entries.get(key(0)) is None
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("entry",)]
    database.close()


def test_clear_empties_a_store_that_others_have_open(tmp_path):
    with open_store(tmp_path) as entries:
        entries.put({key(i): content(i) for i in range(20)})
        assert clear_store(tmp_path) > 0
        assert entries.get(key(0)) is None
        entries.put({key(0): content(0)})
        assert entries.get(key(0)) == content(0)
    assert (tmp_path / "activations-1.sqlite").stat().st_size < 400_000


def test_clear_removes_a_broken_file(tmp_path):
    (tmp_path / "activations-1.sqlite").write_bytes(b"no database" * 5000)
    (tmp_path / "mine.txt").write_text("mine")
    clear_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert clear_store(tmp_path) == 0


def test_a_store_that_is_not_there_is_an_error_for_who_looks_at_it(tmp_path):
    with pytest.raises(ValueError, match="There is no feature cache"), open_existing(tmp_path):
        pass


def test_auto_is_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with open_store("auto") as entries:
        assert entries.folder == str(tmp_path / "skage")


def test_a_home_folder_is_expanded_and_no_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with open_store("~/kept") as entries:
        assert entries.folder == FeatureStore("~/kept").folder == str(tmp_path / "kept")
    for use in (open_store, open_existing):
        with pytest.raises(ValueError, match="feature_cache='' is empty"), use(""):
            pass
    with pytest.raises(ValueError, match="feature_cache='' is empty"):
        clear_store("")
    assert os.listdir(tmp_path) == ["kept"]


def _no_home():
    raise RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("found", [_no_home, lambda: "~/.cache/skage"])  # as platformdirs differ
def test_without_a_home_folder_auto_says_what_to_set(monkeypatch, found):
    monkeypatch.setattr(store.platformdirs, "user_cache_dir", lambda *_, **__: found())
    with pytest.raises(ValueError, match=r"Set XDG_CACHE_HOME.* in place of 'auto'"):
        store.resolve_folder("auto")


def test_what_a_limit_would_delete_is_known_before(tmp_path):
    with open_store(tmp_path) as entries:
        entries.put({key(i): content(i) for i in range(40)})
        assert entries.excess(entries.n_bytes) == 0
        before, expected = entries.n_bytes, entries.excess(1_000_000)
        entries.limit = 1_000_000
        assert before - entries.n_bytes == pytest.approx(expected, abs=100_000)
        with pytest.raises(ValueError, match="not a number of bytes"):
            entries.limit = 2**63


def test_looking_and_storing_warn_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureStore(tmp_path).close()
