"""``nightmill doctor`` as a Ray job: ``ray job submit --working-dir . -- python jobs/doctor.py ARGUMENTS``."""

import sys

from pipelines.cli import main

sys.exit(main(["doctor", *sys.argv[1:]]))
