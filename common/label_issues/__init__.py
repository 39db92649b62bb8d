"""Find, rank, review and export label issues."""

from common.installation import require

require("cleanlab")
