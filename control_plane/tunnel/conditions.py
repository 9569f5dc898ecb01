"""What keeps a hub from working."""


class HubError(Exception):
    """One line for the operator: what is wrong and what to do."""
