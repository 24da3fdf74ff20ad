"""``nightmill run`` as a Ray job: ``ray job submit --working-dir . -- python jobs/run.py ARGUMENTS``."""

import sys

from pipelines.cli import main

sys.exit(main(["run", *sys.argv[1:]]))
