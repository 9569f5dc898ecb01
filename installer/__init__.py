"""What brings an agent onto an owner's host, and how a release of it is made.

The host's side is shell, since a fresh host has nothing else: `install.sh`, `setup.sh`, `uninstall.sh`. The
module `release` lays the directory that a control plane serves. README.md has the chain of trust.
"""
