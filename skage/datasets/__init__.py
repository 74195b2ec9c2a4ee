"""Faces with known ages: drawn ones, and loaders of public data sets.

A loader reads the folder that a data set's authors distribute; it downloads and
decodes nothing. It warns of images that the data set should hold but that are missing
or empty. Names of persons and whatever else is text are taken without the blanks around
them and in Unicode's composed form, so that neither makes two persons of one; upper
and lower case are kept apart. It returns a `sklearn.utils.Bunch`:

data : list of str
    Absolute paths of the images.
target : ndarray of shape (n_samples,), float64
    Ages in years.
groups : ndarray of shape (n_samples,), int
    Images of one person share a group, and so do identical files. Pass it as
    ``groups`` to scikit-learn, so that no split parts them.
frame : pandas.DataFrame of n_samples rows
    path, age, content (one code for all identical files), and what else the data
    set tells, such as person, sex, ethnicity, or split ("train", "valid" or
    "test", as its authors have it; see `skage.splits.published_split`).
conflicts : pandas.DataFrame
    path, age and content of identical files that carry different ages.
dropped : dict of str to int
    Reasons, and how many rows each left out.
DESCR : str
    Source, citation, licence, how the ages were made, and what was dropped.

Where ages come from votes there is also target_std, their standard deviation.
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
from ._table import load_table
from ._utkface import load_utkface

__all__ = [
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
