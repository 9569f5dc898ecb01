"""`python -m agent` is `daalu-agent`."""

import sys

from agent.main import main

sys.exit(main())
