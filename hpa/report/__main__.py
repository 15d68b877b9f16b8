"""`python -m hpa.report`: see `hpa.report`."""

from hpa.report import main

if __name__ == "__main__":
    raise SystemExit(main())
