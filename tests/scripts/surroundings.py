"""Never trains: prints what a script sees of how it was started."""

import json
import os
import sys
from pathlib import Path

seen = {
    "name": __name__,
    "file": __file__,
    "argv": sys.argv,
    "path": sys.path,
    "cwd": os.fspath(Path.cwd()),
    "main": sys.modules["__main__"].__dict__ is globals(),
    "excepthook": sys.excepthook is sys.__excepthook__,
    "package": __package__,
}
for key, value in seen.items():
    print(key, json.dumps(value))
