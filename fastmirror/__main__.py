"""``python -m fastmirror`` is the ``fastmirror`` command."""

from fastmirror.cli import main

raise SystemExit(main())
