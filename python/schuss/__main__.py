import sys

from schuss.cli import main

sys.exit(main())
