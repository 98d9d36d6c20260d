"""The command line as `python -m capsbench`."""

from capsbench.cli.main import main

if __name__ == "__main__":
    main()
