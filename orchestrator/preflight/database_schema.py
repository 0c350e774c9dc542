"""Schema versions of the databases of Optuna and MLflow, read without loading either.

Both use Alembic: a table holds the version, and a folder of the package the versions it knows.
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from orchestrator.base.addresses import sqlite_file
from orchestrator.base.sqlite_files import open_reading
from orchestrator.base.text import first_line

Schema: TypeAlias = Literal["current", "older", "unknown", "none"]
_FOLDERS = {
    "mlflow": "store/db_migrations/versions",
    "optuna": "storages/_rdb/alembic/versions",
}
_BUSY_S = 5.0
_REVISION = re.compile(r"^revision\s*=\s*[\"']([^\"']+)", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision\s*=\s*[\"']([^\"']+)", re.MULTILINE)


class UnreadableDatabaseError(Exception):
    """A database is damaged, locked, or cannot be reached."""


@dataclass(frozen=True)
class KnownSchemas:
    """Versions that an installed package knows, and the one that it works with."""

    versions: frozenset[str]
    current: frozenset[str]

    @classmethod
    def of(cls, package: str) -> "KnownSchemas":
        """Those of `mlflow` or `optuna`."""
        found = find_spec(package)
        assert found is not None
        assert found.origin is not None
        return cls.in_folder(Path(found.origin).parent / _FOLDERS[package])

    @classmethod
    def in_folder(cls, folder: Path) -> "KnownSchemas":
        """Those of a folder of Alembic's scripts."""
        texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
        versions = {version for script in texts for version in _REVISION.findall(script)}
        replaced = {version for script in texts for version in _BEFORE.findall(script)}
        return cls(frozenset(versions), frozenset(versions - replaced))

    def judge(self, version: str | None) -> Schema:
        """What a database of this version is for the installed package."""
        if version is None:
            return "none"
        if version in self.current:
            return "current"
        return "older" if version in self.versions else "unknown"


def schema_version(url: str) -> str | None:
    """Version that a database says it has; None: it says none. Nothing is written.

    Args:
        url: SQLAlchemy URL; an SQLite file must exist.

    Raises:
        UnreadableDatabaseError: It cannot be read.
    """
    try:
        engine = _reading_engine(url)
        with engine.connect() as connection:
            tables = engine.dialect.get_table_names(connection)
            if "alembic_version" not in tables:
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except (SQLAlchemyError, ImportError) as error:
        raise UnreadableDatabaseError(first_line(str(error)) or type(error).__name__) from error


def _reading_engine(url: str) -> Engine:
    path = sqlite_file(url)
    if path is None:
        return create_engine(url, poolclass=NullPool)
    return create_engine(
        "sqlite://", creator=lambda: open_reading(path, _BUSY_S), poolclass=NullPool
    )
