"""How much one message may ask to be stored: it must end well within the statement timeout."""

from typing import Final

JOBS_MAX: Final = 100_000
"""Members of one batch, and jobs of one pipeline."""
STAGES_MAX: Final = 1_000
