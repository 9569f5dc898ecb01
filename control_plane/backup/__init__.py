"""Backups: everything that a control plane needs to come up elsewhere, in one file, and back.

A *backup* is a tar file: a *manifest* first, then consistent copies of the store and of telemetry, the
settings, and every key. Who has it has the control plane. `make_backup` works beside a `daalu serve` that
goes on writing; `restore_backup` puts one into a directory that holds nothing yet.
"""

from control_plane.backup.conditions import BackupFailed, RestoreRefused
from control_plane.backup.make import make_backup
from control_plane.backup.manifest import Entry, Manifest
from control_plane.backup.restore import restore_backup

__all__ = ["BackupFailed", "Entry", "Manifest", "RestoreRefused", "make_backup", "restore_backup"]
