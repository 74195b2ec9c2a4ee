"""Each loader on a small folder in the layout that the authors publish."""

import os
import re
import unicodedata
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from skage import datasets
from skage.datasets import load_appa_real, load_imdb_clean, load_imdb_wiki, load_lap, load_table
from skage.splits import published_split


def lay(root, *names):
    """Write files, each of other bytes."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lost(told=""):
    """The warning that images of the dataset are missing or empty."""
    told = re.escape(told).replace(re.escape(".*"), ".*")
    return pytest.warns(UserWarning, match=f"^Images of the dataset are left out.*{told}")


def names(faces):
    return [Path(path).name for path in faces.data]


# loader: (files of the published layout and one that is bad, ages, column, its values)
BY_NAME = {
    "utkface": (
        [
            "UTKFace/100_1_0_20170112213500903.jpg.chip.jpg",
            "UTKFace/24_0_1_20170116220224657 .jpg.chip.jpg",
            "UTKFace/55_0_0_20170116232725357jpg.chip.jpg",
            "part2/53__0_20170116184028385.jpg",
            "part2/selfie.jpg",
        ],
        [100, 24, 55, 53],
        "sex",
        ["female", "male", "male", "?"],
    ),
    "fgnet": (
        ["images/001A02.JPG", "images/001a08.jpg", "images/010A07b.JPG", "images/x.jpg"],
        [2, 8, 7],
        "person",
        ["001", "001", "010"],
    ),
    "aaf": (
        [
            "original images/00000A02.jpg",
            "original images/07381A80.jpg",
            "original images/0738A80.jpg",
            "aligned faces/00000A02.jpg",
            "key points/00000A02.txt",
        ],
        [2, 80],
        "sex",
        ["female", "male"],
    ),
    "agedb": (
        ["0_MariaCallas_35_f.jpg", "10_GlennClose_62_f.jpg", "11_GoldieHawn_f.jpg"],
        [35, 62],
        "person",
        ["MariaCallas", "GlennClose"],
    ),
    "afad": (
        [
            "AFAD-Full/15/111/638660-0.jpg",
            "AFAD-Full/15/112/638660-1.jpg",
            "AFAD-Full/72/112/7-0.jpg",
            "AFAD-Full/72/7-0.jpg",
            "AFAD-Full/15/111/Thumbs.db",
        ],
        [15, 15, 72],
        "sex",
        ["male", "female", "female"],
    ),
    "morph2": (
        ["Album2/009055_1M54.JPG", "Album2/009055_2M56.JPG", "Album2/1_0F16.JPG", "Album2/a.JPG"],
        [54, 56, 16],
        "person",
        ["009055", "009055", "1"],
    ),
    "cacd": (
        [
            "CACD2000/14_Aaron_Johnson_0001.jpg",
            "CACD2000/53_Robin_Williams_0009.jpg",
            "CACD2000/Robin_Williams.jpg",
        ],
        [14, 53],
        "person",
        ["Aaron_Johnson", "Robin_Williams"],
    ),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_ages_are_read_from_names(name, tmp_path):
    published, ages, column, values = BY_NAME[name]
    faces = getattr(datasets, f"load_{name}")(lay(tmp_path, *published))
    assert faces.target.tolist() == ages
    assert faces.frame["age"].tolist() == ages
    assert list(faces.frame["path"]) == faces.data
    assert all(os.path.isfile(path) for path in faces.data)
    assert faces.frame[column].fillna("?").tolist() == values
    assert sum(faces.dropped.values()) == 1
    assert "Left out: 1 (name is not" in faces.DESCR
    assert "Citation: " in faces.DESCR
    assert "Licence: " in faces.DESCR
    assert "Ages: " in faces.DESCR


def matlab_day(text):
    return float((np.datetime64(text) - np.datetime64("1970-01-01")).astype(int) + 719529)


def save_imdb(path, **changes):
    """Five photographs, as imdb.mat and wiki.mat list them."""
    n = 5
    listed = {
        "dob": [matlab_day("1950-03-01"), matlab_day("1950-08-01"), 1.0, matlab_day("1990-01-01")],
        "photo_taken": [2000, 2000, 2000, 1980],
        "full_path": [f"0{i}/nm000{i // 2}_rm{i}_1950-3-1_2000.jpg" for i in range(n)],
        "gender": [1, 0, np.nan, 1, 1],
        "name": ["Ann", "Ann", "", "Bob", "Eve"],
        "face_location": [np.array([[1.0, 2.0, 30.0, 40.0 + i]]) for i in range(n)],
        "face_score": [4.5, 3.0, 4.0, 4.0, -np.inf],
        "second_face_score": [np.nan, 2.0, np.nan, np.nan, np.nan],
    }
    listed["dob"].append(matlab_day("1950-03-01") + 0.5)
    listed["photo_taken"].append(2000)
    listed |= changes
    struct = {}
    for name, values in listed.items():
        if name in ("full_path", "name", "face_location"):
            struct[name] = np.empty((1, len(values)), dtype=object)
            struct[name][0] = [np.array(v) if isinstance(v, str) else v for v in values]
        else:
            struct[name] = np.array([values], dtype=np.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {path.stem: struct})
    lay(path.parent, *listed["full_path"])


def test_imdb_wiki_filters_as_the_paper(tmp_path):
    save_imdb(tmp_path / "imdb_crop" / "imdb.mat")
    faces = load_imdb_wiki(tmp_path)
    assert faces.target.tolist() == [50]
    assert faces.dropped == {
        "date of birth or year is unusable": 1,
        "age is outside 0-100": 1,
        "no face was found": 1,
        "there is a second face": 1,
    }
    row = faces.frame.iloc[0]
    assert (row["sex"], row["name"], row["person"], row["year"]) == ("male", "Ann", "nm0000", 2000)
    assert row[["x_min", "y_min", "x_max", "y_max"]].tolist() == [1, 2, 30, 40]

    wider = load_imdb_wiki(tmp_path, max_second_face_score=2.5, age_range=(0, 49))
    assert wider.target.tolist() == [49]  # 50 in August
    assert load_imdb_wiki(tmp_path, max_second_face_score=2.5).groups.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"No usable images are left.*face score is below 5"):
        load_imdb_wiki(tmp_path, min_face_score=5)
    with pytest.raises(ValueError, match=r"must be \(youngest, oldest\)"):
        load_imdb_wiki(tmp_path, age_range=(0, 50, 100))


def test_imdb_and_wiki_load_together(tmp_path):
    save_imdb(tmp_path / "imdb_crop" / "imdb.mat")
    one = {
        "dob": [matlab_day("1981-05-05")],
        "photo_taken": [2009],
        "full_path": ["17/10000217_1981-05-05_2009.jpg"],
        "gender": [1],
        "name": [""],
        "face_location": [np.array([[1.0, 1.0, 9.0, 9.0]])],
        "face_score": [4.3],
        "second_face_score": [np.nan],
    }
    save_imdb(tmp_path / "wiki_crop" / "wiki.mat", **one)
    faces = load_imdb_wiki(tmp_path)
    assert faces.target.tolist() == [50, 28]
    assert faces.frame["person"].tolist() == ["nm0000", "10000217"]
    (tmp_path / "wiki_crop" / one["full_path"][0]).unlink()
    with lost("1 (file is missing, first '.*10000217_1981-05-05_2009.jpg')"):
        assert load_imdb_wiki(tmp_path).dropped["file is missing"] == 1


@pytest.mark.parametrize("dob", [np.nan, np.inf, -np.inf, -5, 0, 366, 4e6, 1e300])
def test_absurd_birth_dates_are_left_out(dob, tmp_path):
    good = matlab_day("1950-03-01")
    save_imdb(tmp_path / "wiki.mat", dob=[good, good, dob, good, good])
    faces = load_imdb_wiki(tmp_path, max_second_face_score=9, age_range=(0, 60))
    assert faces.dropped["date of birth or year is unusable"] == 1


def test_imdb_clean(tmp_path):
    header = "filename,age,gender,x_min,y_min,x_max,y_max,head_roll,head_yaw,head_pitch\n"
    images = ["38/nm2679438_rm1_1989-8-15_2009.jpg", "13/nm0000313_rm2_1949-12-4_2010.jpg"]
    rows = [f"{images[0]},20,M,31,39,61,77,7.7,1.7,2.2\n", f"{images[1]},61,F,1,2,3,4,0,0,0\n"]
    gone = "13/nm0000313_rm3_1949-12-4_2010.jpg,61,F,1,2,3,4,0,0,0\n"
    for suffix, folder in (("_1024", "imdb-clean-1024"), ("", "imdb")):
        write(tmp_path, f"csvs/imdb_train_new{suffix}.csv", header + rows[0])
        write(tmp_path, f"csvs/imdb_test_new{suffix}.csv", header + rows[1] + gone)
        lay(tmp_path / "data" / folder, *images)
    with lost("1 (file is missing, first '.*nm0000313_rm3_1949-12-4_2010.jpg')"):
        faces = load_imdb_clean(tmp_path)
    assert faces.target.tolist() == [20, 61]
    assert faces.frame["split"].tolist() == ["train", "test"]
    assert faces.frame["sex"].tolist() == ["male", "female"]
    assert faces.frame["person"].tolist() == ["nm2679438", "nm0000313"]
    assert faces.dropped == {"file is missing": 1}
    assert all("imdb-clean-1024" in path for path in faces.data)
    with lost():
        whole = load_imdb_clean(tmp_path, cropped=False)
    assert [Path(path).parts[-3] for path in whole.data] == ["imdb", "imdb"]
    for image in images:
        (tmp_path / "data" / "imdb-clean-1024" / image).unlink()
        (tmp_path / "data" / "imdb" / image).unlink()
    with pytest.raises(ValueError, match="no image listed in the table of IMDB-Clean"):
        load_imdb_clean(tmp_path)


def test_appa_real_has_both_ages(tmp_path):
    header = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n"
    write(tmp_path, "gt_avg_train.csv", header + "000000.jpg,36,5.055,1.145,4\n")
    write(
        tmp_path, "gt_avg_test.csv", header + "005613.jpg,38,31.5,4.5,33\n005614.jpg,38,40,3,41\n"
    )
    images = ["train/000000.jpg", "test/005613.jpg"]
    lay(tmp_path, *images, *(f"{image}_face.jpg" for image in images))
    with lost():
        faces = load_appa_real(tmp_path)
    assert faces.target.tolist() == [5.055, 31.5]
    assert faces.target_std.tolist() == [1.145, 4.5]
    assert faces.frame["n_votes"].tolist() == [36, 38]
    assert faces.frame["real_age"].tolist() == [4, 33]
    assert faces.frame["split"].tolist() == ["train", "test"]
    assert faces.dropped == {"file is missing": 1}
    with lost():
        real = load_appa_real(tmp_path, target="real", cropped=True)
    assert real.target.tolist() == [4, 33]
    assert "target_std" not in real
    assert names(real) == ["000000.jpg_face.jpg", "005613.jpg_face.jpg"]
    with pytest.raises(ValueError, match="'target' parameter"):
        load_appa_real(tmp_path, target="felt")


@pytest.mark.parametrize("edition", [2015, 2016])
def test_lap(edition, tmp_path):
    if edition == 2016:
        write(tmp_path, "train_gt.csv", "image,mean,stdv\n000001.jpg,30.5,4.2\n")
        write(tmp_path, "gt/test_gt.csv", "image,mean,stdv\n000001.jpg,7,1\n000009.jpg,8,1\n")
        lay(tmp_path, "train_2/000001.jpg", "test_1/000001.jpg")
    else:
        write(tmp_path, "Train.csv", "000001.jpg;30.5;4.2\n")
        write(tmp_path, "Test.csv", "000001.jpg;7;1\n000009.jpg;8;1\n")
        lay(tmp_path, "Train/000001.jpg", "Test/000001.jpg")
    with lost():
        faces = load_lap(tmp_path)
    assert faces.target.tolist() == [30.5, 7]
    assert faces.target_std.tolist() == [4.2, 1]
    assert faces.frame["split"].tolist() == ["train", "test"]
    assert [Path(path).parent.name[:2].lower() for path in faces.data] == ["tr", "te"]
    assert faces.dropped == {"file is missing": 1}
    write(tmp_path, "valid_gt.csv", "a.jpg,3\n")
    with pytest.raises(ValueError, match=r"valid_gt\.csv is not a table of ChaLearn LAP"):
        load_lap(tmp_path)


def test_morph2_takes_its_table(tmp_path):
    lay(tmp_path, *BY_NAME["morph2"][0])
    write(
        tmp_path,
        "morph_2008_nonCommercial.csv",
        "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo\n"
        "009055,1,01/02/1950,03/04/2004,B,M,MO,54,0,N,Album2/009055_1M54.JPG\n"
        "009055,9,01/02/1950,03/04/2006,B,M,MO,56,0,N,Album2/009055_9M56.JPG\n",
    )
    with lost("1 (file is missing, first '009055_9M56.JPG')"):
        faces = datasets.load_morph2(tmp_path)
    assert faces.target.tolist() == [54, 56, 16]
    assert faces.frame["ethnicity"].isna().tolist() == [False, True, True]
    assert faces.frame["ethnicity"][0] == "Black"
    assert faces.frame["dob"][0] == "01/02/1950"
    assert faces.groups.tolist() == [0, 0, 1]
    assert faces.dropped["file is missing"] == 1


def test_cacd_takes_its_table(tmp_path):
    lay(tmp_path, *BY_NAME["cacd"][0])
    listed = [Path(name).name for name in BY_NAME["cacd"][0][:2]] + ["15_Aaron_Johnson_0002.jpg"]
    cells = np.empty((3, 1), dtype=object)
    cells[:, 0] = listed
    columns = {
        "age": [14, 53, 15],
        "identity": [1, 2, 1],
        "year": [2004, 2004, 2005],
        "rank": [1, 5, 1],
        "lfw": [0, 1, 0],
        "birth": [1990, 1951, 1990],
    }
    struct = {name: np.array([values]).T for name, values in columns.items()} | {"name": cells}
    savemat(tmp_path / "celebrity2000_meta.mat", {"celebrityImageData": struct})
    with lost("1 (file is missing, first '15_Aaron_Johnson_0002.jpg')"):
        faces = datasets.load_cacd(tmp_path)
    assert faces.frame["split"].tolist() == ["valid", "test"]
    assert faces.frame["birth"].tolist() == [1990, 1951]
    assert faces.dropped["file is missing"] == 1


def test_aaf_takes_its_image_sets(tmp_path):
    lay(tmp_path, *BY_NAME["aaf"][0])
    write(tmp_path, "image sets/train.txt", "07381A80.jpg 1\n")
    write(tmp_path, "image sets/val.txt", "00000A02.jpg 0\n")
    for folder in (tmp_path, tmp_path / "aligned faces"):
        assert datasets.load_aaf(folder).frame["split"][0] == "valid"
    (tmp_path / "image sets" / "val.txt").unlink()
    assert datasets.load_aaf(tmp_path).frame["split"].fillna("?").tolist() == ["?", "train"]
    (tmp_path / "image sets" / "train.txt").unlink()
    assert "split" not in datasets.load_aaf(tmp_path).frame


def test_persons_and_identical_files_share_a_group(tmp_path):
    lay(tmp_path, "001A02.JPG", "001A08.JPG", "002A05.JPG", "003A08.JPG", "004A31.JPG")
    (tmp_path / "003A08.JPG").write_bytes((tmp_path / "001A08.JPG").read_bytes())
    (tmp_path / "004A31.JPG").write_bytes((tmp_path / "002A05.JPG").read_bytes())
    faces = datasets.load_fgnet(tmp_path)
    assert faces.groups.tolist() == [0, 0, 1, 0, 1]
    assert names(faces) == ["001A02.JPG", "001A08.JPG", "002A05.JPG", "003A08.JPG", "004A31.JPG"]
    assert [Path(path).name for path in faces.conflicts["path"]] == ["002A05.JPG", "004A31.JPG"]
    assert faces.conflicts["age"].tolist() == [5, 31]
    assert faces.conflicts["content"].nunique() == 1
    assert "Identical files: 4 in 2 sets; in 1 of them" in faces.DESCR


def test_files_that_begin_alike_are_not_identical(tmp_path):
    for i in range(3):
        (tmp_path / f"00{i}A20.JPG").write_bytes(b"x" * 5000 + bytes([i > 0]))
    assert datasets.load_fgnet(tmp_path).frame["content"].tolist() == [0, 1, 1]


def test_an_empty_file_is_dropped(tmp_path):
    lay(tmp_path, "001A02.JPG", "002A05.JPG", "003A08.JPG")
    for name in ("001A02.JPG", "003A08.JPG"):
        (tmp_path / name).write_bytes(b"")
    with lost("2 (file is empty, first '.*001A02.JPG')"):
        faces = datasets.load_fgnet(tmp_path)
    assert names(faces) == ["002A05.JPG"]
    assert faces.dropped == {"file is empty": 2}


def test_linked_folders_are_entered_once(tmp_path):
    lay(tmp_path, "real/001A02.JPG", "set/002A05.JPG")
    for name, target in (("more", "real"), ("again", "real"), ("loop", "set")):
        (tmp_path / "set" / name).symlink_to(tmp_path / target, target_is_directory=True)
    assert sorted(names(datasets.load_fgnet(tmp_path / "set"))) == ["001A02.JPG", "002A05.JPG"]


@pytest.mark.parametrize("name", [name for name in datasets.__all__ if name.startswith("load")])
def test_another_folder_is_refused(name, tmp_path):
    load = getattr(datasets, name)
    if name == "load_table":
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "none.csv")
        return
    if name == "load_folder":
        load = partial(load, pattern=r"(?P<age>\d+)")
    with pytest.raises(ValueError, match="is not a folder"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"contains no .* It has no files"):
        load(tmp_path)
    lay(tmp_path, "holiday/beach.jpg", "notes.txt")
    with pytest.raises(
        ValueError, match=r"contains no .* files are: notes.txt, holiday/beach.jpg\."
    ):
        load(tmp_path)


BAD_CSV = {"empty": b"", "photo": b"\xff\xd8\xff,1\n", "other": b"a,b\n1,2\n"}


@pytest.mark.parametrize("content", BAD_CSV)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("appa_real", "gt_avg_train.csv"),
        ("lap", "train_gt.csv"),
        ("imdb_clean", "imdb_train_new_1024.csv"),
        ("morph2", "morph_2008_nonCommercial.csv"),
    ],
)
def test_another_table_is_refused(name, file, content, tmp_path):
    lay(tmp_path, *BY_NAME["morph2"][0])
    (tmp_path / file).write_bytes(BAD_CSV[content])
    message = r"it lacks .*; it has a, b\." if content == "other" and name != "lap" else ""
    with pytest.raises(ValueError, match=rf"{file} is not a table of .*{message}"):
        getattr(datasets, f"load_{name}")(tmp_path)


def test_a_table_without_rows_is_refused(tmp_path):
    write(tmp_path, "imdb_train_new_1024.csv", "filename,age,gender\n")
    with pytest.raises(ValueError, match=r"_1024.csv is not a table of .*a header but no rows"):
        load_imdb_clean(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "struct"),
    [("imdb_wiki", "wiki.mat", "wiki"), ("cacd", "celebrity2000_meta.mat", "celebrityImageData")],
)
def test_another_mat_is_refused(name, file, struct, tmp_path):
    lay(tmp_path, *BY_NAME["cacd"][0])
    load, refused = getattr(datasets, f"load_{name}"), rf"{file} is not a table of .*"
    for content in (b"", b"no .mat at all" * 20):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ValueError, match=refused):
            load(tmp_path)
    for held, lacking in (({"x": 1}, f"{struct}; it has x"), ({struct: {"name": 1}}, ".*has name")):
        savemat(tmp_path / file, held)
        with pytest.raises(ValueError, match=f"{refused}it lacks {lacking}"):
            load(tmp_path)


@pytest.fixture
def table(tmp_path):
    lay(tmp_path, "a.jpg", "b.jpg", "c.jpg")

    def written(*rows):
        write(tmp_path, "faces.csv", "\n".join(["years,path,who,spread,site,n", *rows]))
        return tmp_path / "faces.csv"

    return written


def test_load_table(table):
    file = table("30,a.jpg,ann,2,x,1", "31.5,b.jpg,,3,y,2", "40,c.jpg,ann,1,z,")
    faces = load_table(file, age="years", group="who", age_std="spread")
    assert faces.target.tolist() == [30, 31.5, 40]
    assert faces.target_std.tolist() == [2, 3, 1]
    assert faces.groups.tolist() == [0, 1, 0]
    assert faces.frame["site"].tolist() == ["x", "y", "z"]
    assert faces.frame["n"].sum() == 3
    assert load_table(file, age="years").groups.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no column 'age'; its columns are 'years', 'path', 'who'"):
        load_table(file)


@pytest.mark.parametrize(
    ("row", "message", "reason"),
    [
        ("30,,ann,2,x,1", "there is no path", "path is missing"),
        (",b.jpg,ann,2,x,1", "there is no age", "age is not a number"),
        ("old,b.jpg,ann,2,x,1", "the age 'old' is not a number", "age is not a number"),
        ("inf,b.jpg,ann,2,x,1", "the age 'inf' is not a number", "age is not a number"),
        ("300,b.jpg,ann,2,x,1", "the age '300' is outside 0-120", "age is outside 0-120"),
        ("-1,b.jpg,ann,2,x,1", "the age '-1' is outside 0-120", "age is outside 0-120"),
        (
            "1980,b.jpg,ann,2,x,1",
            "the age '1980' looks like a year of birth: subtract it from the year of the photo",
            "age looks like a year of birth: subtract it from the year of the photograph",
        ),
        (
            "30,b,ann.jpg,ann,2,x,1",
            "the path 'b' is in a row of more cells than the header's 6: put quotes around text",
            "path is in a row of more cells than the header's 6: put quotes around text that "
            "contains commas",
        ),
        ("30,b.jpg,ann,?,x,1", r"the age_std '\?' is not a number", "age_std is not a number"),
        ("30,b.jpg,ann,-1,x,1", "the age_std '-1' is negative", "age_std is negative"),
        ("30,0.jpg,ann,2,x,1", "the file '.*0.jpg' is empty", "file is empty"),
        ("30,d.jpg,ann,2,x,1", "the file '.*d.jpg' is missing", "file is missing"),
    ],
)
def test_a_bad_row_of_a_table_raises_or_is_counted(row, message, reason, table):
    file = table("30,a.jpg,ann,2,x,1", "", row)
    file.with_name("0.jpg").touch()
    with pytest.raises(ValueError, match=rf"faces.csv, line 4: {message}.*\."):
        load_table(file, age="years", age_std="spread")
    with lost() if reason.startswith("file") else nullcontext():
        faces = load_table(file, age="years", age_std="spread", on_error="skip")
    assert faces.target.tolist() == [30]
    assert faces.dropped == {reason: 1}


def test_a_table_of_paths_absolute_and_relative(table, tmp_path, monkeypatch):
    table(f"30,{tmp_path / 'a.jpg'},ann,2,x,1", "40,b.jpg,bob,2,x,1")
    monkeypatch.chdir(tmp_path)
    faces = load_table("faces.csv", age="years")
    assert faces.data == [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]


def test_only_named_columns_are_used(tmp_path):
    lay(tmp_path, "a.jpg", "b.jpg")
    header, rows = "path,age,person,age_std,_age,site", "a.jpg,30,,wide,7,0012\nb.jpg,40,,-1,8,3\n"
    write(tmp_path, "faces.csv", f"{header}\n{rows}")
    faces = load_table(tmp_path / "faces.csv")
    assert faces.groups.tolist() == [0, 1]
    assert "target_std" not in faces
    assert faces.frame["age_std"].tolist() == ["wide", "-1"]
    assert faces.frame["_age"].tolist() == [7, 8]
    assert faces.frame["site"].tolist() == ["0012", "3"]
    assert load_table(tmp_path / "faces.csv", group="person").groups.tolist() == [0, 1]
    write(tmp_path, "faces.csv", f"{header},age\n")
    with pytest.raises(ValueError, match=r"faces.csv has two columns named 'age'\."):
        load_table(tmp_path / "faces.csv")


def test_a_file_that_is_not_a_table_is_refused(tmp_path):
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match="is not a CSV in UTF-8"):
        load_table(tmp_path / "photo.csv")
    (tmp_path / "empty.csv").write_text("path,age\n")
    with pytest.raises(ValueError, match="has a header but no rows"):
        load_table(tmp_path / "empty.csv")


BLANKS = ["Ann ", " Ann", "Ann\u00a0", "Ann\t"]


@pytest.mark.parametrize("again", [*BLANKS, "\u00a0 Ann"])
def test_a_blank_around_a_name_makes_no_other_person(again, table):
    faces = load_table(table("3,a.jpg,Ann", f"4,b.jpg,{again}"), age="years", group="who")
    assert faces.groups.tolist() == [0, 0]
    assert faces.frame["who"].tolist() == ["Ann", "Ann"]


def test_accents_in_two_encodings_are_one_person(table):
    composed, parted = (unicodedata.normalize(form, "Zoë Né") for form in ("NFC", "NFD"))
    assert composed != parted
    rows = f"3,a.jpg,{composed}", f"4,b.jpg,{parted}", f"5,c.jpg,{composed.replace(' ', '  ')}"
    assert load_table(table(*rows), age="years", group="who").groups.tolist() == [0, 0, 0]


def test_names_that_may_be_other_persons_stay_apart(table):
    rows = "3,a.jpg,7", "4,b.jpg,7.0", "5,c.jpg,007"
    assert load_table(table(*rows), age="years", group="who").groups.tolist() == [0, 1, 2]
    rows = "3,a.jpg,ann", "4,b.jpg,Ann", "5,c.jpg,\u00a0"
    assert load_table(table(*rows), age="years", group="who").groups.tolist() == [0, 1, 2]


def test_the_parts_of_a_split_are_known_with_blanks_too(table):
    faces = load_table(table("3,a.jpg,x,1,train ", "4,b.jpg,y,1,test\u00a0"), age="years")
    faces.frame = faces.frame.rename(columns={"site": "split"})
    assert published_split(faces, "train")[0][1].tolist() == [1]


@pytest.mark.parametrize("blank", ["a.jpg ", " a.jpg", "a.jpg\u00a0"])
def test_a_blank_around_a_file_name_in_a_table_is_left_out(blank, table):
    assert names(load_table(table(f"3,{blank},x"), age="years")) == ["a.jpg"]


def test_a_file_name_that_has_blanks_is_found(table, tmp_path):
    lay(tmp_path, "a.jpg ", "b  b.jpg")
    faces = load_table(table("3,a.jpg ,x", "4,b  b.jpg,x"), age="years")
    assert names(faces) == ["a.jpg ", "b  b.jpg"]


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_name_with_accents_is_found_in_either_encoding(on_disk, in_table, table, tmp_path):
    name = unicodedata.normalize(on_disk, "zoë.jpg")
    lay(tmp_path, name)
    row = f"3,{unicodedata.normalize(in_table, name)},x"
    assert names(load_table(table(row), age="years")) == [name]


def test_a_home_folder_is_written_as_a_tilde(table, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    table("3,~/a.jpg,x")
    assert load_table("~/faces.csv", age="years").data == [str(tmp_path / "a.jpg")]
    lay(tmp_path, "set/001A02.JPG")
    assert datasets.load_fgnet("~/set").data == [str(tmp_path / "set" / "001A02.JPG")]
    with pytest.raises(ValueError, match="folder='' is empty"):
        datasets.load_fgnet("")
    with pytest.raises(ValueError, match="csv='' is empty"):
        load_table("")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_whatever_separates_it(delimiter, tmp_path):
    lay(tmp_path, "a.jpg", "b,c.jpg")
    rows = [["path", "age", "note, or ;"], ["a.jpg", "30", "x"], ["b,c.jpg", "40", "y;\tz"]]
    lines = [delimiter.join(f'"{cell}"' for cell in row) for row in rows]
    write(tmp_path, "faces.csv", "\n".join(lines))
    faces = load_table(tmp_path / "faces.csv")
    assert names(faces) == ["a.jpg", "b,c.jpg"]
    assert faces.target.tolist() == [30, 40]


def test_ages_between_semicolons_may_have_decimal_commas(tmp_path):
    lay(tmp_path, "a,5.jpg", "b.jpg")
    write(tmp_path, "faces.csv", "path;age;std\na,5.jpg;31,5;2\nb.jpg;40.25;1,75\n")
    faces = load_table(tmp_path / "faces.csv", age_std="std")
    assert faces.target.tolist() == [31.5, 40.25]
    assert faces.target_std.tolist() == [2, 1.75]


def test_a_header_may_have_blanks_and_lines(tmp_path):
    lay(tmp_path, "a.jpg")
    write(tmp_path, "faces.csv", '\n path , age,"a\nnote"\na.jpg, 30,x\n')
    faces = load_table(tmp_path / "faces.csv")
    assert faces.target.tolist() == [30]
    assert faces.frame["a note"].tolist() == ["x"]
    write(tmp_path, "faces.csv", "path,age\n\na.jpg,x\n")
    with pytest.raises(ValueError, match="line 3: the age 'x'"):
        load_table(tmp_path / "faces.csv")


def test_a_table_of_other_columns_says_which_and_how_to_name_them(tmp_path):
    write(tmp_path, "faces.csv", "file;years\na.jpg;30\n")
    with pytest.raises(
        ValueError,
        match=r"faces.csv has no column 'path' or 'age'; its columns are 'file', 'years', "
        r"separated by semicolons\. Name the right one with path= and age=\.",
    ):
        load_table(tmp_path / "faces.csv")
    with pytest.raises(ValueError, match=r"no column 'who'.* Name the right one with group=\."):
        load_table(tmp_path / "faces.csv", path="file", age="years", group="who")
    write(tmp_path, "faces.csv", "path|age\na.jpg|30\n")
    with pytest.raises(
        ValueError,
        match=r"columns are 'path\|age', as its first line has no comma, semicolon or tab\.",
    ):
        load_table(tmp_path / "faces.csv")


def test_a_table_of_birth_years_alone_says_so(table):
    with pytest.raises(ValueError, match=r"Left out: 2 \(age looks like a year of birth"):
        load_table(table("1980,a.jpg,x", "1999,b.jpg,x"), age="years", on_error="skip")


def test_persons_in_file_names_are_known_with_blanks_and_accents(tmp_path):
    name = "Penélope_Cruz"
    files = [
        f"2{i}_{unicodedata.normalize(form, name)}_000{i}.jpg"
        for i, form in enumerate(["NFC", "NFD"])
    ]
    lay(tmp_path, *files, "24_Penélope_Cruz _0009.jpg")
    cells = np.empty((3, 1), dtype=object)
    cells[:, 0] = [unicodedata.normalize("NFC", files[1]), files[0] + " ", "24_gone_0001.jpg"]
    columns = {name: np.ones((3, 1)) for name in ("identity", "year", "birth", "lfw")}
    struct = {"name": cells, "rank": np.array([[1], [2], [1]]), **columns}
    savemat(tmp_path / "celebrity2000_meta.mat", {"celebrityImageData": struct})
    with lost("1 (file is missing, first '24_gone_0001.jpg')"):
        faces = datasets.load_cacd(tmp_path)
    assert faces.groups.tolist() == [0, 0, 0]
    assert faces.frame["rank"].fillna(0).tolist() == [2, 1, 0]
    lay(tmp_path / "agedb", "0_MariaCallas_35_f.jpg", "1_MariaCallas _36_f.jpg")
    assert datasets.load_agedb(tmp_path / "agedb").groups.tolist() == [0, 0]


def test_blanks_in_published_tables_hide_neither_sex_nor_file(tmp_path):
    write(
        tmp_path,
        "imdb_train_new_1024.csv",
        "filename , age, gender \n 38/nm1_rm1_1989.jpg ,20 ,M \n38/nm1_rm2_1989.jpg,21,F\u00a0\n",
    )
    lay(tmp_path / "imdb-clean-1024", "38/nm1_rm1_1989.jpg", "38/nm1_rm2_1989.jpg")
    faces = load_imdb_clean(tmp_path)
    assert faces.frame["sex"].tolist() == ["male", "female"]
    assert faces.frame["person"].tolist() == ["nm1", "nm1"]
    lay(tmp_path / "morph", "009055_1M54.JPG")
    write(tmp_path, "morph/morph_2008_nonCommercial.csv", "photo,race\n009055_1M54.JPG ,B \n")
    assert datasets.load_morph2(tmp_path / "morph").frame["ethnicity"].tolist() == ["Black"]
    lay(tmp_path / "lap", "train/000001.jpg")
    write(tmp_path, "lap/train_gt.csv", "Image , mean, stdv\n000001.jpg , 30.5, 4\n \n")
    assert load_lap(tmp_path / "lap").target.tolist() == [30.5]


def test_only_files_with_the_suffix_of_an_image_count_as_named_otherwise(tmp_path):
    lay(tmp_path, "001A02.JPG", "a.avif", "b.jfif", "notes.txt", "c.mpg")
    assert list(datasets.load_fgnet(tmp_path).dropped.values()) == [2]
