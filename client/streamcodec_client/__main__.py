"""`python -m streamcodec_client`: the streamcodec command without its entry point."""

import sys

from .cli import main

sys.exit(main())
