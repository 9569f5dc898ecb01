"""What brings an agent onto an owner's host, and how a release of it is made.

The host's side is shell (`install.sh`, `uninstall.sh`), since a fresh host has nothing else; `release` lays the
directory that a control plane serves. README.md has the chain of trust.
"""
