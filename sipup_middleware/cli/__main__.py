"""``python -m sipup_middleware.cli``, for where the script is not on PATH."""

from sipup_middleware.cli import main

__all__ = ()

if __name__ == "__main__":
    main()
