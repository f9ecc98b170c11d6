"""A plugin of pytest: the tests run as if this were no POSIX system, as far as that can be done on one.

    PYTHONPATH=tests python -m pytest -p without_posix --basetemp FOLDER

pytest itself asks for the user's id, unless it is given a folder for temporary files.
"""

from __future__ import annotations

from helpers_platforms import refuse_open_files, take_away_posix

take_away_posix()
refuse_open_files()
