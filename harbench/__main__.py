"""`python -m harbench` is the same command line as `harbench`."""

from harbench.cli import main

if __name__ == "__main__":
    main()
