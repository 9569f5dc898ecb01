"""Version 1 of the messages between agent and control plane."""
