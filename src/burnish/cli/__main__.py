"""`python -m burnish.cli`: the same as `burnish`, where scripts are not on the PATH."""

from burnish.cli import main

main()
