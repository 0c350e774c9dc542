"""Folders that tests read: the checkout, and the data that lies beside it on some machines."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEARCH_SPACES = ROOT / "search_spaces"
SHARED = ROOT.parent / "shared"
