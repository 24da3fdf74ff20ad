"""``nightmill explain`` as a Ray job: ``ray job submit --working-dir . -- python jobs/explain.py ARGUMENTS``."""

import sys

from pipelines.cli import main

sys.exit(main(["explain", *sys.argv[1:]]))
