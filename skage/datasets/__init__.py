"""Drawn faces of known ages, loaders of public datasets, and groups of near-duplicates.

A loader reads the folder that a dataset's authors distribute. It neither downloads files
nor decodes images, and warns about images that should be there but are missing or empty.
Names of persons and other text are stripped of surrounding whitespace and normalised to
Unicode's composed form (NFC), so that neither turns one person into two; upper and lower
case are kept apart. A loader returns a `sklearn.utils.Bunch`:

data : list of str
    Absolute paths of the images.
target : ndarray of shape (n_samples,), float64
    Ages in years.
groups : ndarray of shape (n_samples,), int
    Images of one person share a group, and so do identical files. Pass it as
    ``groups`` to scikit-learn, so that no split separates them. Copies that are not
    identical are found by `group_near_duplicates`, which reads the images.
frame : pandas.DataFrame with n_samples rows
    The columns path, age, content (one code for all identical files), and whatever else
    the dataset provides, such as person, sex, ethnicity, or split ("train", "valid" or
    "test", as its authors define it; see `skage.splits.published_split`).
conflicts : pandas.DataFrame
    The path, age and content of identical files that are labelled with different ages.
dropped : dict of str to int
    The number of rows left out, by reason.
DESCR : str
    Source, citation, licence, where the ages come from, and what was dropped.

Where ages are the mean of votes, target_std is the standard deviation of the votes in years.
"""

from ._aaf import load_aaf
from ._afad import load_afad
from ._agedb import load_agedb
from ._apparent import load_appa_real, load_lap
from ._cacd import load_cacd
from ._faces import make_faces
from ._fgnet import load_fgnet
from ._folder import load_folder
from ._imdb import load_imdb_clean, load_imdb_wiki
from ._morph2 import load_morph2
from ._near import find_near_duplicates, group_near_duplicates
from ._table import load_table
from ._utkface import load_utkface

__all__ = [
    "find_near_duplicates",
    "group_near_duplicates",
    "load_aaf",
    "load_afad",
    "load_agedb",
    "load_appa_real",
    "load_cacd",
    "load_fgnet",
    "load_folder",
    "load_imdb_clean",
    "load_imdb_wiki",
    "load_lap",
    "load_morph2",
    "load_table",
    "load_utkface",
    "make_faces",
]
