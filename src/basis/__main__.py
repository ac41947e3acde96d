"""`python -m basis` is the same as `basis`."""

from basis.cli import main

if __name__ == "__main__":
    main()
