"""Why a backup was not made, or not put back. The messages say what to do."""


class BackupFailed(Exception):
    """Nothing is left where the backup was to be."""


class RestoreRefused(Exception):
    """The directory holds what it held before."""
